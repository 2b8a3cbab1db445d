"""Parts of a split: a few utterances of many, and two halves that do not meet."""

from __future__ import annotations

from lhotse import CutSet

from asr.types import InputError


def spread(cuts: CutSet, num_utterances: int) -> CutSet:
    """At most ``num_utterances`` of ``cuts``, evenly spread: manifests run speaker by speaker."""
    every = list(cuts)
    if num_utterances >= len(every):
        return cuts
    return CutSet.from_cuts(
        every[index * len(every) // num_utterances] for index in range(num_utterances)
    )


def no_longer_than(cuts: CutSet, duration_s: float) -> CutSet:
    """The cuts of at most ``duration_s`` seconds.

    Raises:
        InputError: there is none.
    """
    kept = [cut for cut in cuts if cut.duration <= duration_s]
    if not kept:
        raise InputError(f"all {len(cuts)} utterances are longer than {duration_s:g} s")
    return CutSet.from_cuts(kept)


def hold_out(cuts: CutSet, every: int) -> tuple[CutSet, CutSet]:
    """Most of ``cuts``, and every ``every``-th of them; the second part may be empty."""
    listed = list(cuts)
    rest = [cut for index, cut in enumerate(listed, 1) if index % every]
    return CutSet.from_cuts(rest), CutSet.from_cuts(listed[every - 1 :: every])
