"""What attention maps say: how alike they are, how local, and which tokens look at which."""

from __future__ import annotations

import math
from typing import NamedTuple

import networkx
import torch
from torch import Tensor
from torch.nn import functional


class StreamingMean:
    """Element by element; the tensors added must all have one shape.

    Sums are kept in float64 on the CPU.
    """

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._count: Tensor | None = None

    def add(self, total: Tensor, count: Tensor | float = 1.0) -> None:
        """Take in a sum of ``count`` observations; ``count`` broadcasts against ``total``."""
        total = total.detach().to("cpu", torch.float64)
        count = torch.as_tensor(count).detach().to("cpu", torch.float64)
        self._total = total if self._total is None else self._total + total
        self._count = count if self._count is None else self._count + count

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added yet."""
        return self._total is None

    @property
    def count(self) -> Tensor:
        """How many observations each element rests on, in the shape the counts had."""
        assert self._count is not None, "nothing was added"
        return self._count

    @property
    def mean(self) -> Tensor:
        """The mean so far; NaN for elements without observations."""
        assert self._total is not None, "nothing was added"
        return self._total / self.count


def best_assignment(similarity_RC: Tensor) -> list[int]:
    """For every row a column of its own, so that the entries chosen add up to the most.

    Exact: a matching of greatest weight (Edmonds 1965, in networkx) between rows and columns, of
    which there are at least as many.
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
    """Similarity (L, H, L, H) of every head with every other one, 0 to 1.

    One minus the total variation distance of the rows, averaged over the rows: 1 for equal maps,
    0 for maps that never look at the same frame. The measure of Bhojanapalli et al. 2021; the
    formula, which was not at hand, is the standard form.
    """
    num_layers, num_heads = probs_LHTT.shape[:2]
    rows_TXT = probs_LHTT.flatten(0, 1).transpose(0, 1)
    distance_XX = torch.cdist(rows_TXT, rows_TXT, p=1.0).mean(0) / 2
    return (1 - distance_XX).view(num_layers, num_heads, num_layers, num_heads)


def jensen_shannon_similarity(probs_LHTT: Tensor) -> Tensor:
    """Similarity (L, L, H) of each head with the head of the same index in other layers, 0 to 1.

    One minus the Jensen-Shannon divergence of the rows in bits, averaged over the rows. Xiao et al.
    2019 choose by it which layers share their weights, head by head.
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
    """Entropy (L, H) of the rows of each map, averaged over the rows."""
    entropy_LHT: Tensor = torch.special.entr(probs_LHTT).sum(-1)
    return entropy_LHT.mean(-1) / math.log(2)


def best_match(similarity_LHLH: Tensor) -> Tensor:
    """(L, L, H): how well each head of the first layer is matched by the best head of the second.

    The head-level measure of Bhojanapalli et al. 2021, from what `total_variation_similarity`
    gives, or its mean over utterances.
    """
    return similarity_LHLH.amax(-1).transpose(1, 2)


def same_head(similarity_LHLH: Tensor) -> Tensor:
    """(L, L, H): similarity of heads of the same index, which is what a reused map replaces."""
    return torch.diagonal(similarity_LHLH, dim1=1, dim2=3)


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
