"""Multiply-adds of one leader and one follower of each method, in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from asr.nn import positions as tiling
from asr.nn.frames import Frames
from asr.nn.positions import PositionKind
from asr.profiling.cost import multiply_adds
from asr.reuse.band import ReuseBand
from asr.reuse.base import ReuseMethod
from asr.reuse.context import ReuseContext
from asr.reuse.few_heads import FewHeads
from asr.reuse.grouped import Grouped
from asr.reuse.heads import ReuseHeads
from asr.reuse.kv import ReuseKeysValues
from asr.reuse.linear import Linear
from asr.reuse.local import Local
from asr.reuse.none import NoReuse
from asr.reuse.pooled import Pooled
from asr.reuse.probs import ReuseProbs
from asr.reuse.scores import ReuseScores
from asr.reuse.top_k import ReuseTopK
from asr.reuse.within import ReuseWithin
from tests.encoder.tiny import D_MODEL as D
from tests.encoder.tiny import POSITIONS, random_features, tiny_encoder
from tests.pairwise import pairwise

H, T = 4, 40
GROUP_SIZE = 4
TILE_ROWS = 16
RANK = 3
NUM_KEPT = 5

PROJECT = T * D * D  # one of Q, K, V and the output projection
MATRIX = T * T * D  # every score, or every value weighted, of all heads

each_position = pytest.mark.parametrize("positions", POSITIONS)


def position_project(positions: PositionKind) -> int:
    return (2 * T - 1) * D * D if positions == "relative" else 0


def position_match(positions: PositionKind) -> int:
    return T * (2 * T - 1) * D if positions == "relative" else 0


def alone(positions: PositionKind) -> int:
    """Q, K, V and output; scores and mixing; distances projected and matched."""
    own_positions = position_project(positions) + position_match(positions)
    return 4 * PROJECT + 2 * MATRIX + own_positions


def heads_follower(positions: PositionKind, num_fresh: int) -> int:
    own_positions = position_project(positions) + position_match(positions)
    all_heads = 2 * PROJECT + MATRIX + own_positions
    return num_fresh * all_heads // H + 2 * PROJECT + MATRIX


def expected(reuse: ReuseMethod, positions: PositionKind) -> tuple[int, int]:
    """Of the leader and of one follower."""
    mix_only = 2 * PROJECT + MATRIX
    if isinstance(reuse, ReuseHeads):
        return alone(positions), heads_follower(positions, H - reuse.num_reused)
    if isinstance(reuse, ReuseScores):
        narrow = 2 * T * D * H * RANK + T * T * H * RANK
        return alone(positions), mix_only + (narrow if reuse.correction == "low_rank" else 0)
    if isinstance(reuse, ReuseKeysValues):
        return alone(positions), 2 * PROJECT + 2 * MATRIX + position_match(positions)
    if isinstance(reuse, ReuseContext):
        return alone(positions) + (GROUP_SIZE - 1) * (PROJECT + MATRIX), PROJECT
    if isinstance(reuse, ReuseTopK):
        return alone(positions), 2 * PROJECT + T * reuse.num_kept * D
    assert isinstance(reuse, ReuseProbs | ReuseBand)  # one tile: its band is the map
    return alone(positions), mix_only


METHODS: dict[str, ReuseMethod] = {
    "probs": ReuseProbs(group_size=GROUP_SIZE),
    "band": ReuseBand(group_size=GROUP_SIZE),
    "top_k": ReuseTopK(group_size=GROUP_SIZE, num_kept=NUM_KEPT),
    "heads-1": ReuseHeads(group_size=GROUP_SIZE, num_reused=1),
    "heads-3": ReuseHeads(group_size=GROUP_SIZE, num_reused=3),
    "heads-4": ReuseHeads(group_size=GROUP_SIZE, num_reused=4),
    "scores-none": ReuseScores(group_size=GROUP_SIZE, correction="none"),
    "scores-diagonal": ReuseScores(group_size=GROUP_SIZE, correction="diagonal"),
    "scores-low-rank": ReuseScores(group_size=GROUP_SIZE, correction="low_rank", rank=RANK),
    "kv": ReuseKeysValues(group_size=GROUP_SIZE),
    "context": ReuseContext(group_size=GROUP_SIZE),
}


@pairwise(name=list(METHODS), positions=POSITIONS)
def test_one_leader_and_one_follower(name: str, positions: PositionKind) -> None:
    reuse = METHODS[name]
    encoder = tiny_encoder(reuse=reuse, positions=positions, num_heads=H)
    leader, follower = (encoder.layers[layer].get_submodule("attention") for layer in (0, 1))
    x_BTD = torch.randn(1, T, D)
    frames = Frames(position_table=encoder.positions.table(T, D, H, x_BTD))
    _, carry = leader(x_BTD, frames, None)

    found = (
        multiply_adds(leader, x_BTD, frames, None),
        multiply_adds(follower, x_BTD, frames, carry),
    )

    assert found == expected(reuse, positions)


@pairwise(positions=POSITIONS, fused=[True, False])
def test_a_layer_that_reuses_nothing(positions: PositionKind, fused: bool) -> None:
    encoder = tiny_encoder(reuse=NoReuse(fused=fused), positions=positions, num_heads=H)
    x_BTD = torch.randn(1, T, D)
    frames = Frames(position_table=encoder.positions.table(T, D, H, x_BTD))
    attention = encoder.layers[0].get_submodule("attention")

    assert multiply_adds(attention, x_BTD, frames, None) == alone(positions)


def by_itself(reuse: ReuseMethod, positions: PositionKind) -> int:
    """Of a layer that attends for itself, method by method."""
    if isinstance(reuse, FewHeads):
        return alone(positions) * reuse.num_heads // H
    if isinstance(reuse, Local):
        return 4 * PROJECT + local_pairs(reuse.width, positions)
    if isinstance(reuse, Grouped):
        size = reuse.frames_per_group
        num_groups = -(-T // size)
        distances = 2 * num_groups - 1
        own_positions = distances * D * size * D + num_groups * distances * size * D
        quadratic = 2 * num_groups * num_groups * size * D
        return 4 * PROJECT + quadratic + (own_positions if positions == "relative" else 0)
    if isinstance(reuse, Pooled):
        size = reuse.pool_size
        num_pools = -(-T // size)
        distances = size * (2 * num_pools - 1)
        rows = num_pools * size if positions == "relative" else T
        own_positions = distances * D * D + rows * (2 * num_pools - 1) * D
        project = 2 * PROJECT + 2 * num_pools * D * D
        quadratic = 2 * rows * num_pools * D
        return project + quadratic + (own_positions if positions == "relative" else 0)
    assert isinstance(reuse, Linear)
    width = D // H
    return 4 * PROJECT + 2 * T * D * width + T * D


def local_pairs(width: int, positions: PositionKind) -> int:
    """Scores and mixing over the pairs that tiles see; distances to them."""
    furthest = min(T - 1, width + TILE_ROWS - 1)
    total = (2 * furthest + 1) * D * D if positions == "relative" else 0
    for start in range(0, T, TILE_ROWS):
        stop = min(start + TILE_ROWS, T)
        num_rows, num_seen = stop - start, min(stop + width, T) - max(0, start - width)
        total += 2 * num_rows * num_seen * D
        if positions == "relative":
            total += num_rows * (num_rows + num_seen - 1) * D
    return total


BY_ITSELF: list[ReuseMethod] = [
    FewHeads(num_heads=1),
    FewHeads(num_heads=3),
    Local(width=3),
    Local(width=100),
    Grouped(frames_per_group=2),
    Grouped(frames_per_group=3),
    Pooled(pool_size=2),
    Pooled(pool_size=3),
    Linear(),
]


@pairwise(positions=POSITIONS, reuse=BY_ITSELF)
def test_a_layer_that_attends_for_itself(
    monkeypatch: pytest.MonkeyPatch, reuse: ReuseMethod, positions: PositionKind
) -> None:
    if isinstance(reuse, Local):
        monkeypatch.setattr(tiling, "TILE_ROWS", TILE_ROWS)
    encoder = tiny_encoder(reuse=reuse, positions=positions, num_heads=H)
    x_BTD = torch.randn(1, T, D)
    frames = Frames(position_table=encoder.positions.table(T, D, H, x_BTD))
    attention = encoder.layers[0].get_submodule("attention")

    assert multiply_adds(attention, x_BTD, frames, None) == by_itself(reuse, positions)


@each_position
def test_a_layer_that_uses_its_map_three_times(positions: PositionKind) -> None:
    encoder = tiny_encoder(reuse=ReuseWithin(num_mixes=3), positions=positions, num_heads=H)
    x_BTD = torch.randn(1, T, D)
    frames = Frames(position_table=encoder.positions.table(T, D, H, x_BTD))
    attention = encoder.layers[0].get_submodule("attention")

    found = multiply_adds(attention, x_BTD, frames, None)

    assert found == alone(positions) + 2 * (2 * PROJECT + MATRIX)


@each_position
def test_methods_by_cost(positions: PositionKind) -> None:
    features = random_features([4 * T])

    def cost(reuse: ReuseMethod) -> int:
        return multiply_adds(tiny_encoder(reuse=reuse, positions=positions, num_heads=H), *features)

    costs: dict[str, Any] = {name: cost(reuse) for name, reuse in METHODS.items()}
    none = cost(NoReuse())

    assert max(costs.values()) < none
    assert costs["probs"] < costs["heads-3"] < costs["heads-1"] < none
    # The same products, spread differently over the layers of the group.
    assert costs["context"] == costs["probs"] == costs["heads-4"] == costs["scores-none"]
    assert costs["band"] == costs["probs"]
    assert costs["probs"] - costs["top_k"] == (GROUP_SIZE - 1) * (MATRIX - T * NUM_KEPT * D)
    assert costs["scores-diagonal"] == costs["probs"] < costs["scores-low-rank"]
