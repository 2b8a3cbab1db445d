"""Checks of training data: unknown characters, too short utterances, changed audio files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

from asr.data.manifest import Utterance, Utterances, read_manifest
from asr.data.summary import Skipped
from asr.errors import InputError
from asr.text.normalize import count_invisible, find_events
from asr.text.tokenizer import Tokenizer

_TWINS = re.compile(r"(.)(?=\1)", re.DOTALL)


def count_unalignable(
    utterances: Utterances,
    *,
    tokenizer: Tokenizer,
    normalizer: Callable[[str], str],
    num_frames: Callable[[float], int],
) -> int:
    """Count the utterances with fewer encoder frames than CTC needs for their tokens.

    CTC needs a frame for each token and one between equal neighbours (Graves et al. 2006).
    ``num_frames`` maps an utterance's seconds to encoder frames.
    """
    count = 0
    num_frames = cache(num_frames)  # many utterances share a length
    for utterance in utterances:
        text = normalizer(utterance.text)
        num_available = num_frames(utterance.duration_s)
        if num_available >= _most_needed(text):
            continue
        ids = tokenizer.encode(text)
        count += num_available < len(ids) + sum(a == b for a, b in pairwise(ids))
    return count


def _most_needed(text: str) -> int:
    """Return an upper bound of the frames that ``text`` needs, much cheaper than encoding.

    If every character and the word start are pieces, each needs a frame, and equal neighbours need
    one more between them. Longer pieces need no more: k equal ones in a row need 2k - 1 frames for
    at least 2k characters.
    """
    return 1 + len(text) + len(_TWINS.findall(text))


_NUM_NAMED = 8
_NUM_EVENTS_NAMED = 5


def describe_dropped(texts: Iterable[str], what: str, *, events: str) -> Iterator[str]:
    """Describe invisible characters and event marks in ``texts``, one line for each kind found.

    ``what`` names the texts, such as "dev"; ``events`` says how the marks are treated.
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
    utterances: Utterances, *, tokenizer: Tokenizer, normalizer: Callable[[str], str]
) -> dict[str, str]:
    """Find characters that ``tokenizer`` does not know, by utterance id."""
    found = {
        utterance.utterance_id: tokenizer.unknown_characters(normalizer(utterance.text))
        for utterance in utterances
    }
    return {utterance_id: unknown for utterance_id, unknown in found.items() if unknown}


def check_characters(
    utterances: Utterances,
    *,
    tokenizer: Tokenizer,
    normalizer: Callable[[str], str],
    allow_unknown: bool = False,
) -> str | None:
    """Describe the characters that ``tokenizer`` does not know; None if it knows all.

    Raises:
        InputError: some are unknown and ``allow_unknown`` is not set; names the first utterance.
    """
    used = set[str]()
    for utterance in utterances:
        used.update(normalizer(utterance.text))
    if not tokenizer.unknown_characters("".join(used)):
        return None
    found = find_unknown_characters(utterances, tokenizer=tokenizer, normalizer=normalizer)
    if allow_unknown:
        return _describe(found, utterances, normalizer)
    utterance_id, unknown = next(iter(found.items()))
    more = f" (and {len(found) - 1:,} more utterances)" if len(found) > 1 else ""
    raise InputError(
        f"transcript of {utterance_id}{more} has characters {unknown!r} that the tokenizer "
        f"does not know; allowed are {tokenizer.characters!r}; --allow-unknown goes on and counts "
        "them as errors"
    )


def _describe(
    found: Mapping[str, str], utterances: Utterances, normalizer: Callable[[str], str]
) -> str:
    """Describe how many utterances have unknown characters, how often, and the first few."""
    counts = Counter[str]()
    for utterance in utterances:
        if utterance.utterance_id in found:
            counts.update(
                c for c in normalizer(utterance.text) if c in found[utterance.utterance_id]
            )
    characters = ", ".join(
        f"{character!r} {number:,}" for character, number in counts.most_common()
    )
    named = ", ".join(list(found)[:_NUM_NAMED])
    more = f" and {len(found) - _NUM_NAMED:,} more" if len(found) > _NUM_NAMED else ""
    return (
        f"{len(found):,} utterances have characters that the tokenizer does not know, counted as "
        f"errors ({characters}): {named}{more}"
    )


def find_changed(manifest: Path) -> list[Skipped]:
    """Find the files of ``manifest`` that are gone or have another size, without opening them."""
    changed = {}
    for utterance in read_manifest(manifest):
        if reason := what_changed(utterance):
            changed[utterance.source] = Skipped(str(utterance.audio_path), reason)
    return list(changed.values())


def what_changed(utterance: Utterance) -> str:
    """Describe how an utterance's audio differs from when it was prepared; empty if it does not."""
    try:
        size = os.stat(utterance.source).st_size  # noqa: PTH116  asked of every utterance, every epoch
    except OSError:
        return "is gone"
    if utterance.num_bytes in (None, size):
        return ""
    return f"has {size:,} bytes, {utterance.num_bytes:,} when prepared"
