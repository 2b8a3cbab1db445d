"""From the similarity of layers to groups that may share one attention map.

Similarity alone is a weak ground to choose by: it says what a follower is handed, not what the
network does with it. What these functions propose is to be trained, or tried, and measured.

Shape legend: L layers.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from torch import Tensor

from asr.types import InputError


class Suggestion(NamedTuple):
    """Sizes of consecutive groups, as ``reuse.groups`` takes them, and what they risk.

    ``risk`` adds up, over the followers, how unlike their leader's map theirs is.
    """

    groups: tuple[int, ...]
    risk: float


def greedy_groups(similarity_LL: Tensor, *, threshold: float) -> Suggestion:
    """From the first layer on, the longest block of layers whose mean similarity is above it.

    The policy of Xiao et al. 2019 (Sharing attention weights for fast Transformer): a block counts
    by the mean over all pairs of different layers in it.

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
    return Suggestion(tuple(groups), risk(similarity_LL, groups))


def best_groups(similarity_LL: Tensor, *, num_groups: int) -> Suggestion:
    """The ``num_groups`` consecutive groups with the least risk, found exactly.

    Raises:
        InputError: ``num_groups`` is not between 1 and the number of layers.
    """
    num_layers = len(similarity_LL)
    if not 1 <= num_groups <= num_layers:
        raise InputError(f"{num_groups} groups of {num_layers} layers: allowed: 1 to {num_layers}")
    block_risk = [
        [block(similarity_LL, start, size) for size in range(num_layers - start + 1)]
        for start in range(num_layers)
    ]

    @cache
    def best(start: int, left: int) -> tuple[float, tuple[int, ...]]:
        """Least risk of the layers from ``start`` on in ``left`` groups, and their sizes."""
        rest = num_layers - start
        if left == 1:
            return block_risk[start][rest], (rest,)
        options = []
        for size in range(1, rest - left + 2):
            later_risk, later = best(start + size, left - 1)
            options.append((block_risk[start][size] + later_risk, (size, *later)))
        return min(options)

    least, groups = best(0, num_groups)
    return Suggestion(groups, least)


def risk(similarity_LL: Tensor, groups: list[int] | tuple[int, ...]) -> float:
    """How unlike its leader's map each follower's is, added up."""
    starts = [sum(groups[:index]) for index in range(len(groups))]
    return sum(
        block(similarity_LL, start, size) for start, size in zip(starts, groups, strict=True)
    )


def block(similarity_LL: Tensor, start: int, size: int) -> float:
    """Risk of one group of ``size`` layers led by layer ``start``."""
    return float((1 - similarity_LL[start, start + 1 : start + size]).sum())


def mean_of_pairs(similarity_LL: Tensor) -> float:
    """Mean over all pairs of different layers."""
    num_layers = len(similarity_LL)
    off_diagonal = similarity_LL.sum() - similarity_LL.diagonal().sum()
    return float(off_diagonal / (num_layers * (num_layers - 1)))
