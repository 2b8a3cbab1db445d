"""Suggesting groups of layers that share attention, from the risk of letting a layer follow.

``risk_LL[l, m]`` is the risk of having layer m follow layer l, in any unit. Computed from the
similarity of their maps it is 1 minus the similarity. That is a weak basis: it measures what a
follower receives, not what the network does with it. Computed from trials it is the loss that each
pair adds. Either way risks are assumed to add up over followers, so every suggestion must be
measured.

Shape legend: L layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from asr.errors import InputError


class LayerCosts(NamedTuple):
    """The cost of a layer of each role, in any unit; a group of one is alone.

    With the default values, the cost of a schedule is the number of maps it computes.
    """

    alone: float = 1.0
    lead: float = 1.0
    follow: float = 0.0

    def of_group(self, size: int) -> float:
        """Return the cost of ``size`` layers that share one map."""
        return self.alone if size == 1 else self.lead + (size - 1) * self.follow


NUM_MAPS = LayerCosts()


class Suggestion(NamedTuple):
    """Sizes of consecutive groups, as ``reuse.groups`` takes them, with their risk and cost.

    ``risk`` is summed over the followers.
    """

    groups: tuple[int, ...]
    risk: float
    cost: float


def greedy_groups(
    similarity_LL: Tensor, *, threshold: float, costs: LayerCosts = NUM_MAPS
) -> Suggestion:
    """Group layers greedily: each group is the longest whose mean similarity exceeds ``threshold``.

    The policy of Xiao et al. 2019 (Sharing attention weights for fast Transformer): the similarity
    of a group is the mean over all pairs of different layers in it. Risk is 1 minus similarity.

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
    """Return every schedule of consecutive groups that no other beats in both risk and cost.

    Schedules are sorted from the cheapest, each with less risk than all before it. The search is
    exact: dynamic programming over the layers, from the last one back.
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
    """Return a schedule with its risk and cost."""
    starts = [sum(groups[:index]) for index in range(len(groups))]
    risks = [block_risk(risk_LL, start, size) for start, size in zip(starts, groups, strict=True)]
    return Suggestion(tuple(groups), sum(risks), sum(map(costs.of_group, groups)))


def block_risk(risk_LL: Tensor, start: int, size: int) -> float:
    """Return the risk of one group of ``size`` layers led by layer ``start``."""
    return float(risk_LL[start, start + 1 : start + size].sum())


def _undominated(suggestions: Iterable[Suggestion]) -> list[Suggestion]:
    kept: list[Suggestion] = []
    for one in sorted(suggestions, key=lambda one: (round(one.cost, 9), one.risk)):
        if not kept or one.risk < kept[-1].risk - 1e-12:
            kept.append(one)
    return kept


def mean_of_pairs(similarity_LL: Tensor) -> float:
    """Return the mean over all pairs of different layers."""
    num_layers = len(similarity_LL)
    off_diagonal = similarity_LL.sum() - similarity_LL.diagonal().sum()
    return float(off_diagonal / (num_layers * (num_layers - 1)))
