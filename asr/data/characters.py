"""What is in transcripts beside the words: characters the tokenizer cannot spell, events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from asr.data.manifest import Cuts, transcript
from asr.text.normalize import count_invisible, find_events
from asr.text.tokenizer import Tokenizer
from asr.types import InputError

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


def check_characters(cuts: Cuts, *, tokenizer: Tokenizer, normalizer: Callable[[str], str]) -> None:
    """Raise ``InputError`` that names the first utterance with unknown characters."""
    used = set[str]()
    for cut in cuts:
        used.update(normalizer(transcript(cut)))
    if not tokenizer.unknown_characters("".join(used)):
        return
    found = find_unknown_characters(cuts, tokenizer=tokenizer, normalizer=normalizer)
    utterance_id, unknown = next(iter(found.items()))
    more = f" (and {len(found) - 1:,} more utterances)" if len(found) > 1 else ""
    raise InputError(
        f"transcript of {utterance_id}{more} has characters {unknown!r} that the tokenizer "
        f"does not know; allowed are {tokenizer.characters!r}"
    )
