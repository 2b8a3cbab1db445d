"""Which tokens look at which: phoneme attention relationship, with the tokens of the model.

After Shim et al. 2022, section on phonemes. The paper's normalisation was not at hand; ours:

    P[p, q] = mean over frames i of class p of  T * mean over j in C_q without E(i) of A[i, j]

C_q are the frames of class q, E(i) the unbroken run of frames of i's own class around i: neighbours
are alike in sound and in place and would hide the rest. T makes 1 what a uniform map gives.

Shape legend: L layers, H heads, T frames, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

NO_CLASS = -1


class RelationshipSums(NamedTuple):
    """``total_LHCC`` over ``num_frames_CC`` frames i each; their quotient is P.

    Sums of several utterances may be added before they are divided.
    """

    total_LHCC: Tensor
    num_frames_CC: Tensor


def token_relationship(
    probs_LHTT: Tensor, class_T: Tensor, *, num_classes: int
) -> RelationshipSums:
    """Of the maps of one utterance.

    ``class_T`` holds 0 to ``num_classes`` - 1 for each frame, ``NO_CLASS`` for frames without one:
    they break runs and take no part.
    """
    num_frames = len(class_T)
    one_hot_TC = functional.one_hot(class_T + 1, num_classes + 1)[:, 1:].to(probs_LHTT.dtype)
    own_run_TT = same_run(class_T).to(probs_LHTT.dtype)
    others_TC = one_hot_TC.sum(0) - own_run_TT.sum(-1, keepdim=True) * one_hot_TC
    mass_LHTC = probs_LHTT @ one_hot_TC
    own_run_LHT = (probs_LHTT * own_run_TT).sum(-1)
    mass_LHTC = mass_LHTC - own_run_LHT.unsqueeze(-1) * one_hot_TC
    relative_LHTC = num_frames * mass_LHTC / others_TC.clamp(min=1)
    counted_TC = (others_TC > 0).to(probs_LHTT.dtype)
    return RelationshipSums(one_hot_TC.T @ (relative_LHTC * counted_TC), one_hot_TC.T @ counted_TC)


def same_run(class_T: Tensor) -> Tensor:
    """(T, T) bool: frames i and j stand in one unbroken run of a class."""
    breaks_T = functional.pad(class_T[1:] != class_T[:-1], (1, 0))
    run_T = breaks_T.cumsum(0)
    has_class_T = class_T != NO_CLASS
    return (run_T.unsqueeze(0) == run_T.unsqueeze(1)) & has_class_T


def same_and_other(relationship_LHCC: Tensor, num_frames_CC: Tensor) -> tuple[Tensor, Tensor]:
    """(L, H) each: how strongly frames look at their own class elsewhere, and at other classes.

    Means over the entries of ``relationship`` that rest on at least one frame; NaN without any.
    """
    seen_CC = num_frames_CC > 0
    same_CC = torch.eye(len(seen_CC), dtype=torch.bool, device=seen_CC.device)
    return (
        relationship_LHCC[:, :, seen_CC & same_CC].mean(-1),
        relationship_LHCC[:, :, seen_CC & ~same_CC].mean(-1),
    )
