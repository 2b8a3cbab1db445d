"""Do the transcripts hold only what the tokenizer can spell?"""

from __future__ import annotations

from collections.abc import Callable

from asr.data.manifest import Cuts, transcript
from asr.text.tokenizer import Tokenizer
from asr.types import InputError


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
