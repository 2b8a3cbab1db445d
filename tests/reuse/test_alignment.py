from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.reuse.base import ReuseMethod
from asr.reuse.context import ReuseContext
from asr.reuse.head_order import aligned_orders
from asr.reuse.heads import ReuseHeads
from asr.reuse.kv import ReuseKeysValues
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from asr.reuse.scores import ReuseScores


def alike(*pairs: tuple[tuple[int, int], tuple[int, int]], num_layers: int = 4) -> Tensor:
    """Similarity (L, 3, L, 3): low, but for these pairs of (layer, head)."""
    similarity = torch.rand(num_layers, 3, num_layers, 3, dtype=torch.float64) * 0.1
    for (one, head), (other, same) in pairs:
        similarity[one, head, other, same] = similarity[other, same, one, head] = 0.9
    return similarity


TURNED = alike(
    *(((0, head), (1, (head + 1) % 3)) for head in range(3)),
    *(((0, head), (2, (head + 2) % 3)) for head in range(3)),
    *(((2, head), (3, 2 - head)) for head in range(3)),
)


@pytest.mark.parametrize("method", [ReuseProbs, ReuseContext, ReuseScores])
def test_a_follower_meets_its_leader_head_by_head(
    method: type[ReuseProbs] | type[ReuseContext] | type[ReuseScores],
) -> None:
    all_of_one = aligned_orders(method(leaders=[0, 0, 0, 3]), TURNED, 3)
    assert all_of_one == {1: [1, 2, 0], 2: [2, 0, 1]}
    assert aligned_orders(method(group_size=2), TURNED, 3) == {1: [1, 2, 0], 3: [2, 1, 0]}


@pytest.mark.parametrize("method", [NoReuse(), ReuseKeysValues(group_size=4)])
def test_without_reused_heads_there_is_nothing_to_bring_into_line(method: ReuseMethod) -> None:
    assert aligned_orders(method, TURNED, 3) == {}


def test_fresh_heads_are_those_least_like_what_is_handed_on() -> None:
    # The leader hands on its head 0, which is head 2 of layer 1; heads 0 and 1 stay fresh, and of
    # these head 0, now first, is handed on: it is head 1 of layer 2.
    similarity = alike(((0, 0), (1, 2)), ((1, 0), (2, 1)), ((2, 0), (3, 0)))
    orders = aligned_orders(ReuseHeads(group_size=4, num_reused=1), similarity, 3)
    assert orders == {1: [0, 1, 2], 2: [0, 2, 1], 3: [1, 2, 0]}


def test_reused_heads_travel_on_when_few_are_fresh() -> None:
    # Two of three are reused: behind its one fresh head a layer hands on the first it was given.
    similarity = alike(
        ((0, 0), (1, 1)),
        ((0, 1), (1, 0)),
        ((1, 2), (2, 0)),
        ((0, 0), (2, 2)),
    )
    orders = aligned_orders(ReuseHeads(leaders=[0, 0, 0, 3], num_reused=2), similarity, 3)
    assert orders == {1: [2, 1, 0], 2: [1, 0, 2]}
