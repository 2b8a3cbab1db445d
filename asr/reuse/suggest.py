"""Proposes groups of layers that may share attention, from what it costs a layer to follow.

``risk_LL[l, m]`` is the risk of having layer m follow layer l, in any unit. From the similarity of
their maps it is 1 minus the similarity, a weak ground to choose by: that says what a follower is
handed, not what the network does with it. From trials it is the loss that each pair adds. Either
way risks are taken to add up over followers, which is an assumption: what these functions propose
is to be measured.

Shape legend: L layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from asr.errors import InputError


class LayerCosts(NamedTuple):
    """What a layer of each role costs, in any unit; a group of one is alone.

    As they stand, the cost of a schedule is the number of maps it computes.
    """

    alone: float = 1.0
    lead: float = 1.0
    follow: float = 0.0

    def of_group(self, size: int) -> float:
        """Cost of ``size`` layers that share one map."""
        return self.alone if size == 1 else self.lead + (size - 1) * self.follow


NUM_MAPS = LayerCosts()


class Suggestion(NamedTuple):
    """Sizes of consecutive groups, as ``reuse.groups`` takes them, what they risk and cost.

    ``risk`` adds up over the followers.
    """

    groups: tuple[int, ...]
    risk: float
    cost: float


def greedy_groups(
    similarity_LL: Tensor, *, threshold: float, costs: LayerCosts = NUM_MAPS
) -> Suggestion:
    """From the first layer on, the longest block of layers whose mean similarity is above it.

    The policy of Xiao et al. 2019 (Sharing attention weights for fast Transformer): a block counts
    by the mean over all pairs of different layers in it. Its risk is that of dissimilarity.

    Raises:
        InputError: ``threshold`` is not between 0 and 1.
    """
    if not 0.0 <= threshold <= 1.0:
        raise InputError(f"threshold {threshold:g}: allowed: 0 to 1")
    num_layers = len(similarity_LL)
    groups: list[int] = []
    start = 0
    while start < num_layers:
        sizes = [
            size
            for size in range(2, num_layers - start + 1)
            if mean_of_pairs(similarity_LL[start : start + size, start : start + size]) > threshold
        ]
        groups.append(max(sizes, default=1))
        start += groups[-1]
    return priced(1 - similarity_LL, groups, costs)


def frontier(risk_LL: Tensor, costs: LayerCosts = NUM_MAPS) -> list[Suggestion]:
    """Every schedule of consecutive groups that none beats in both risk and cost.

    The cheapest first, each with less risk than all before it; found exactly, by dynamic
    programming over the layers from the last one back.
    """
    num_layers = len(risk_LL)
    best: list[list[Suggestion]] = [[] for _ in range(num_layers)] + [[Suggestion((), 0.0, 0.0)]]
    for start in reversed(range(num_layers)):
        best[start] = _undominated(
            Suggestion(
                (size, *later.groups),
                block_risk(risk_LL, start, size) + later.risk,
                costs.of_group(size) + later.cost,
            )
            for size in range(1, num_layers - start + 1)
            for later in best[start + size]
        )
    return best[0]


def priced(risk_LL: Tensor, groups: Sequence[int], costs: LayerCosts = NUM_MAPS) -> Suggestion:
    """A schedule with its risk and cost."""
    starts = [sum(groups[:index]) for index in range(len(groups))]
    risks = [block_risk(risk_LL, start, size) for start, size in zip(starts, groups, strict=True)]
    return Suggestion(tuple(groups), sum(risks), sum(map(costs.of_group, groups)))


def block_risk(risk_LL: Tensor, start: int, size: int) -> float:
    """Risk of one group of ``size`` layers led by layer ``start``."""
    return float(risk_LL[start, start + 1 : start + size].sum())


def _undominated(suggestions: Iterable[Suggestion]) -> list[Suggestion]:
    kept: list[Suggestion] = []
    for one in sorted(suggestions, key=lambda one: (round(one.cost, 9), one.risk)):
        if not kept or one.risk < kept[-1].risk - 1e-12:
            kept.append(one)
    return kept


def mean_of_pairs(similarity_LL: Tensor) -> float:
    """Mean over all pairs of different layers."""
    num_layers = len(similarity_LL)
    off_diagonal = similarity_LL.sum() - similarity_LL.diagonal().sum()
    return float(off_diagonal / (num_layers * (num_layers - 1)))
