"""How close to the diagonal an attention map keeps: cumulative attention diagonality.

After Shim et al. 2022 (Understanding the role of self attention for efficient speech recognition).
The paper's formula was not at hand; this is our reading of its description:

    D_r = (1/T) sum_i sum_{|i-j| <= r} A[i, j]        the mass within r frames of the diagonal
    CAD = (1/T) sum_{r = 0 .. T-1} D_r                the area under D_r

A diagonal map has CAD 1, a uniform one 2/3 + 1 / (3 T^2).

Shape legend: L layers, H heads, T frames, R points of the curve.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Diagonality(NamedTuple):
    """``area_LH`` is CAD; ``curve_LHR`` is D_r with r from 0 to T - 1 in R equal steps."""

    area_LH: Tensor
    curve_LHR: Tensor


def diagonality(probs_LHTT: Tensor, *, num_points: int) -> Diagonality:
    """Of the maps of one utterance; ``num_points`` is R, at least 2.

    The curve is over r as a share of the utterance, so that those of long and short utterances
    can be averaged.
    """
    num_frames = probs_LHTT.shape[-1]
    time_T = torch.arange(num_frames, device=probs_LHTT.device)
    distance_TT = (time_T.unsqueeze(0) - time_T.unsqueeze(1)).abs()
    mass_LHT = probs_LHTT.new_zeros(*probs_LHTT.shape[:2], num_frames)
    mass_LHT.index_add_(-1, distance_TT.flatten(), probs_LHTT.flatten(2))
    within_LHT = mass_LHT.cumsum(-1) / num_frames
    points_R = torch.arange(num_points, device=probs_LHTT.device) * (num_frames - 1)
    return Diagonality(within_LHT.mean(-1), within_LHT[..., points_R // (num_points - 1)])
