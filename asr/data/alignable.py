"""Utterances too short for their transcript."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise

from asr.data.manifest import Cuts, transcript
from asr.text.tokenizer import Tokenizer

_TWINS = re.compile(r"(.)(?=\1)", re.DOTALL)


def count_unalignable(
    cuts: Cuts,
    *,
    tokenizer: Tokenizer,
    normalizer: Callable[[str], str],
    num_frames: Callable[[float], int],
) -> int:
    """How many utterances have fewer encoder frames than CTC needs for their tokens.

    CTC needs a frame for each token and one between equal neighbours (Graves et al. 2006).
    ``num_frames`` gives the encoder frames of an utterance from its seconds.
    """
    count = 0
    num_frames = cache(num_frames)  # of few lengths where there are many utterances
    for cut in cuts:
        text = normalizer(transcript(cut))
        num_available = num_frames(cut.duration)
        if num_available >= _most_needed(text):
            continue
        ids = tokenizer.encode(text)
        count += num_available < len(ids) + sum(a == b for a, b in pairwise(ids))
    return count


def _most_needed(text: str) -> int:
    """Frames that any pieces of ``text`` can need, for a fraction of what encoding costs.

    Every character as a piece, the one before the first word too, needs a frame for each, and one
    between equal neighbours. Longer pieces need no more: k equal ones in a row need 2k - 1 frames
    for at least 2k characters.
    """
    return 1 + len(text) + len(_TWINS.findall(text))
