"""What is in transcripts beside the words: characters the tokenizer cannot spell, events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from asr.data.manifest import Cuts, transcript
from asr.text.normalize import count_invisible, find_events
from asr.text.tokenizer import Tokenizer
from asr.types import InputError

_NUM_NAMED = 8
_NUM_EVENTS_NAMED = 5


def describe_dropped(texts: Iterable[str], what: str, *, events: str) -> Iterator[str]:
    """A line for invisible characters in ``texts``, and one for marks of events, where any are.

    ``what`` are the texts, such as "dev"; ``events`` is what becomes of the marks.
    """
    num_texts = num_characters = 0
    found = Counter[str]()
    for text in texts:
        if number := count_invisible(text):
            num_texts += 1
            num_characters += number
        found += find_events(text)
    if num_texts:
        yield (
            f"{what}: {num_characters:,} invisible characters dropped in {num_texts:,} transcripts"
        )
    if found:
        named = ", ".join(f"{event} {n:,}" for event, n in found.most_common(_NUM_EVENTS_NAMED))
        more = ", …" if len(found) > _NUM_EVENTS_NAMED else ""
        yield f"{what}: {found.total():,} marks of events {events}: {named}{more}"


def find_unknown_characters(
    cuts: Cuts, *, tokenizer: Tokenizer, normalizer: Callable[[str], str]
) -> dict[str, str]:
    """Utterance -> the characters of its normalised transcript that ``tokenizer`` does not know."""
    found = {cut.id: tokenizer.unknown_characters(normalizer(transcript(cut))) for cut in cuts}
    return {utterance_id: unknown for utterance_id, unknown in found.items() if unknown}


def check_characters(
    cuts: Cuts,
    *,
    tokenizer: Tokenizer,
    normalizer: Callable[[str], str],
    allow_unknown: bool = False,
) -> str | None:
    """What there is to say of characters that ``tokenizer`` does not know; None without any.

    Raises:
        InputError: there are some, and ``allow_unknown`` is not set; names the first utterance.
    """
    used = set[str]()
    for cut in cuts:
        used.update(normalizer(transcript(cut)))
    if not tokenizer.unknown_characters("".join(used)):
        return None
    found = find_unknown_characters(cuts, tokenizer=tokenizer, normalizer=normalizer)
    if allow_unknown:
        return _describe(found, cuts, normalizer)
    utterance_id, unknown = next(iter(found.items()))
    more = f" (and {len(found) - 1:,} more utterances)" if len(found) > 1 else ""
    raise InputError(
        f"transcript of {utterance_id}{more} has characters {unknown!r} that the tokenizer "
        f"does not know; allowed are {tokenizer.characters!r}; --allow-unknown goes on and counts "
        "them as errors"
    )


def _describe(found: Mapping[str, str], cuts: Cuts, normalizer: Callable[[str], str]) -> str:
    """How many utterances have unknown characters, how often each comes, and the first few."""
    counts = Counter[str]()
    for cut in cuts:
        if cut.id in found:
            counts.update(c for c in normalizer(transcript(cut)) if c in found[cut.id])
    characters = ", ".join(
        f"{character!r} {number:,}" for character, number in counts.most_common()
    )
    named = ", ".join(list(found)[:_NUM_NAMED])
    more = f" and {len(found) - _NUM_NAMED:,} more" if len(found) > _NUM_NAMED else ""
    return (
        f"{len(found):,} utterances have characters that the tokenizer does not know, counted as "
        f"errors ({characters}): {named}{more}"
    )
