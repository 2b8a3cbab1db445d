"""Labels of overlapping chunks to labels of the whole audio.

Two chunks may place the same token a frame apart. Cut at a fixed frame between the two, a token is
then lost or doubled. So the seam lies where both chunks say the same.

Shape legend: T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from asr.decode.greedy import FrameLabels


def stitch(starts: Sequence[int], labels: Sequence[FrameLabels]) -> FrameLabels:
    """Every frame of the audio once; chunks stand in order, ``starts`` are their first frames."""
    cuts = [0]
    for (start, before), (next_start, after) in pairwise(zip(starts, labels, strict=True)):
        overlap = start + len(before) - next_start
        cut = seam(before.ids_T[len(before) - overlap :], after.ids_T[:overlap])
        cuts.append(max(cuts[-1], next_start + cut))  # more than two chunks may overlap
    cuts.append(starts[-1] + len(labels[-1]))
    kept = [
        one[first - start : last - start]
        for start, one, (first, last) in zip(starts, labels, pairwise(cuts), strict=True)
    ]
    return FrameLabels(
        scores_T=torch.cat([one.scores_T for one in kept]),
        ids_T=torch.cat([one.ids_T for one in kept]),
    )


def seam(before_T: Tensor, after_T: Tensor) -> int:
    """How many frames of an overlap the chunk before has the say in; the rest is the next one's.

    The middle of the longest stretch on which both agree, in the half of the overlap that has a
    quarter of it as context on either side; of equal stretches the one nearest to the middle.
    Collapsing then neither loses nor doubles a token, for the labels left and right of the seam
    follow each other in both chunks. The middle of the overlap where they agree on nothing.
    """
    num_frames = len(before_T)
    middle = num_frames // 2
    first = num_frames // 4
    agreed = (before_T == after_T)[first : num_frames - first].tolist()
    best, best_rank = middle, (0, 0)
    run = 0
    for frame, same in enumerate(agreed, start=first + 1):
        run = run + 1 if same else 0
        centre = frame - run // 2
        rank = (run, -abs(centre - middle))
        if run and rank > best_rank:
            best, best_rank = centre, rank
    return best
