"""Statistics of attention maps: similarity, diagonality, and attention between tokens."""

from __future__ import annotations

import math
from typing import NamedTuple

import networkx
import torch
from torch import Tensor
from torch.nn import functional


class StreamingMean:
    """A running mean, element by element, of tensors of one shape.

    Sums are stored in float64 on the CPU.
    """

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._count: Tensor | None = None

    def add(self, total: Tensor, count: Tensor | float = 1.0) -> None:
        """Add a sum of ``count`` observations; ``count`` broadcasts against ``total``."""
        total = total.detach().to("cpu", torch.float64)
        count = torch.as_tensor(count).detach().to("cpu", torch.float64)
        self._total = total if self._total is None else self._total + total
        self._count = count if self._count is None else self._count + count

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been added."""
        return self._total is None

    @property
    def count(self) -> Tensor:
        """The number of observations of each element, in the shape of the counts."""
        assert self._count is not None, "nothing was added"
        return self._count

    @property
    def mean(self) -> Tensor:
        """The mean so far; NaN for elements without observations."""
        assert self._total is not None, "nothing was added"
        return self._total / self.count


def best_assignment(similarity_RC: Tensor) -> list[int]:
    """Assign each row a different column so that the sum of the chosen entries is largest.

    The result is exact: a maximum-weight matching (Edmonds 1965, in networkx) of rows and columns.
    There must be at least as many columns as rows.
    """
    num_rows, num_columns = similarity_RC.shape
    assert num_rows <= num_columns
    graph = networkx.Graph()
    for row, values in enumerate(similarity_RC.tolist()):
        for column, value in enumerate(values):
            graph.add_edge(row, num_rows + column, weight=value)
    pairs = map(sorted, networkx.max_weight_matching(graph, maxcardinality=True))
    column_of = {row: column - num_rows for row, column in pairs}
    return [column_of[row] for row in range(num_rows)]


def total_variation_similarity(probs_LHTT: Tensor) -> Tensor:
    """Return the similarity (L, H, L, H) of every pair of heads, from 0 to 1.

    One minus the total variation distance of the rows, averaged over the rows: 1 for equal maps, 0
    for maps that never attend to the same frame. The measure of Bhojanapalli et al. 2021; their
    formula was not available, so this is the standard form.
    """
    num_layers, num_heads = probs_LHTT.shape[:2]
    rows_TXT = probs_LHTT.flatten(0, 1).transpose(0, 1)
    distance_XX = torch.cdist(rows_TXT, rows_TXT, p=1.0).mean(0) / 2
    return (1 - distance_XX).view(num_layers, num_heads, num_layers, num_heads)


def jensen_shannon_similarity(probs_LHTT: Tensor) -> Tensor:
    """Return the similarity (L, L, H) of heads of the same index in two layers, from 0 to 1.

    One minus the Jensen-Shannon divergence of the rows in bits, averaged over the rows. Xiao et al.
    2019 use it to choose which layers share their weights, head by head.
    """
    own_LH = row_entropy_bits(probs_LHTT)
    similarity_LLH = torch.ones(len(own_LH), *own_LH.shape, device=probs_LHTT.device)
    for layer, probs_HTT in enumerate(probs_LHTT):
        mixture_LH = row_entropy_bits((probs_HTT + probs_LHTT[layer + 1 :]) / 2)
        divergence_LH = mixture_LH - (own_LH[layer] + own_LH[layer + 1 :]) / 2
        similarity_LLH[layer, layer + 1 :] = 1 - divergence_LH
        similarity_LLH[layer + 1 :, layer] = 1 - divergence_LH
    return similarity_LLH.clamp(0.0, 1.0)


def row_entropy_bits(probs_LHTT: Tensor) -> Tensor:
    """Return the entropy (L, H) of the rows of each map, averaged over the rows."""
    entropy_LHT: Tensor = torch.special.entr(probs_LHTT).sum(-1)
    return entropy_LHT.mean(-1) / math.log(2)


def best_match(similarity_LHLH: Tensor) -> Tensor:
    """Return (L, L, H): each head's highest similarity to a head of the second layer.

    The head-level measure of Bhojanapalli et al. 2021, from the result of
    `total_variation_similarity` or its mean over utterances.
    """
    return similarity_LHLH.amax(-1).transpose(1, 2)


def same_head(similarity_LHLH: Tensor) -> Tensor:
    """Return (L, L, H): the similarity of heads of the same index, which map reuse relies on."""
    return torch.diagonal(similarity_LHLH, dim1=1, dim2=3)


class Diagonality(NamedTuple):
    """Cumulative attention diagonality ``area_LH`` (CAD), and the curve it is the area of.

    ``curve_LHR`` is D_r for r from 0 to T - 1 in R equal steps: the attention within r frames of
    the diagonal.
    """

    area_LH: Tensor
    curve_LHR: Tensor


def diagonality(probs_LHTT: Tensor, *, num_points: int) -> Diagonality:
    """Return the diagonality of the maps of one utterance; ``num_points`` is R, at least 2.

    The curve is a function of r as a fraction of the utterance, so that curves of long and short
    utterances can be averaged.
    """
    num_frames = probs_LHTT.shape[-1]
    time_T = torch.arange(num_frames, device=probs_LHTT.device)
    distance_TT = (time_T.unsqueeze(0) - time_T.unsqueeze(1)).abs()
    mass_LHT = probs_LHTT.new_zeros(*probs_LHTT.shape[:2], num_frames)
    mass_LHT.index_add_(-1, distance_TT.flatten(), probs_LHTT.flatten(2))
    within_LHT = mass_LHT.cumsum(-1) / num_frames
    points_R = torch.arange(num_points, device=probs_LHTT.device) * (num_frames - 1)
    return Diagonality(within_LHT.mean(-1), within_LHT[..., points_R // (num_points - 1)])


NO_CLASS = -1


class RelationshipSums(NamedTuple):
    """``total_LHCC`` is summed over ``num_frames_CC`` frames; their quotient is the relationship P.

    Sums of several utterances may be added before dividing.
    """

    total_LHCC: Tensor
    num_frames_CC: Tensor


def token_relationship(
    probs_LHTT: Tensor, class_T: Tensor, *, num_classes: int
) -> RelationshipSums:
    """Return the relationships of token classes in the maps of one utterance.

    ``class_T`` holds 0 to ``num_classes`` - 1 for each frame, and ``NO_CLASS`` for frames without a
    class. Such frames end runs and are not counted.
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
    """Return (T, T) bool: frames i and j are in one unbroken run of a class."""
    breaks_T = functional.pad(class_T[1:] != class_T[:-1], (1, 0))
    run_T = breaks_T.cumsum(0)
    has_class_T = class_T != NO_CLASS
    return (run_T.unsqueeze(0) == run_T.unsqueeze(1)) & has_class_T


def same_and_other(relationship_LHCC: Tensor, num_frames_CC: Tensor) -> tuple[Tensor, Tensor]:
    """Return (L, H) twice: attention to a frame's own class elsewhere, and to other classes.

    Both are means over the entries of ``relationship`` with at least one frame; NaN without any.
    """
    seen_CC = num_frames_CC > 0
    same_CC = torch.eye(len(seen_CC), dtype=torch.bool, device=seen_CC.device)
    return (
        relationship_LHCC[:, :, seen_CC & same_CC].mean(-1),
        relationship_LHCC[:, :, seen_CC & ~same_CC].mean(-1),
    )
