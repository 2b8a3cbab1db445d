"""Utterances too short for their transcript."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from lhotse import CutSet

from asr.data.manifest import transcript
from asr.text.tokenizer import Tokenizer


def count_unalignable(
    cuts: CutSet,
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
    for cut in cuts:
        ids = tokenizer.encode(normalizer(transcript(cut)))
        needed = len(ids) + sum(a == b for a, b in pairwise(ids))
        count += num_frames(cut.duration) < needed
    return count
