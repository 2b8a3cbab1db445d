"""Parts of a split: a few utterances of many, and two halves that do not meet."""

from __future__ import annotations

from asr.data.manifest import Cuts
from asr.types import InputError


def spread(cuts: Cuts, num_utterances: int) -> Cuts:
    """At most ``num_utterances`` of ``cuts``, evenly spread: manifests run speaker by speaker."""
    if num_utterances >= len(cuts):
        return cuts
    return [cuts[index * len(cuts) // num_utterances] for index in range(num_utterances)]


def no_longer_than(cuts: Cuts, duration_s: float) -> Cuts:
    """The cuts of at most ``duration_s`` seconds.

    Raises:
        InputError: there is none.
    """
    kept = [cut for cut in cuts if cut.duration <= duration_s]
    if not kept:
        raise InputError(f"all {len(cuts)} utterances are longer than {duration_s:g} s")
    return kept


def hold_out(cuts: Cuts, every: int) -> tuple[Cuts, Cuts]:
    """Most of ``cuts``, and every ``every``-th of them; the second part may be empty."""
    rest = [cut for index, cut in enumerate(cuts, 1) if index % every]
    return rest, cuts[every - 1 :: every]
