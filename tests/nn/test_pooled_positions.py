"""Keys in the middle of pools against the formula as a double loop over frames and pools."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.nn import positions as tiling
from asr.nn.relative import RelativePositions
from asr.nn.rotary import RotaryPositions, rotations
from asr.nn.span_positions import (
    PooledRelativePositions,
    PooledRotaryPositions,
    middle_of,
    sinusoids,
    table_of,
)
from tests.encoder.tiny import randomise
from tests.pairwise import pairwise

B, H, K = 2, 2, 4
D = H * K

SIZES = [1, 2, 3, 4]
LENGTHS = [1, 2, 5, 8, 9]


def relative(size: int, num_frames: int) -> tuple[PooledRelativePositions, Tensor]:
    module = PooledRelativePositions(d_model=D, num_heads=H, head_dim=K, pool_size=size)
    randomise(module)
    table = RelativePositions.table(num_frames, D, H, torch.zeros(1))
    assert table is not None
    return module, table


def tensors(size: int, num_frames: int) -> tuple[Tensor, Tensor, Tensor]:
    num_pools = -(-num_frames // size)
    return (
        torch.randn(B, H, num_frames, K),
        torch.randn(B, H, num_pools, K),
        torch.randn(B, H, num_pools, K),
    )


def double_loop(module: PooledRelativePositions, q: Tensor, k: Tensor, size: int) -> Tensor:
    scores = torch.empty(B, H, q.shape[2], k.shape[2])
    for i in range(q.shape[2]):
        for j in range(k.shape[2]):
            distance = i - (j * size + (size - 1) // 2)
            r_D = sinusoids(range(distance, distance + 1), D, q)[0]
            r_HK = module.position(r_D).view(H, K)
            content = ((q[:, :, i] + module.content_bias_HK) * k[:, :, j]).sum(-1)
            position = ((q[:, :, i] + module.position_bias_HK) * r_HK).sum(-1)
            scores[:, :, i, j] = (content + position) / K**0.5
    return scores


@pairwise(size=SIZES, num_frames=LENGTHS, grad=[True, False])
def test_scores_and_their_tiles_and_attention(
    monkeypatch: pytest.MonkeyPatch, size: int, num_frames: int, grad: bool
) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", 2)
    (module, table), (q, k, v) = relative(size, num_frames), tensors(size, num_frames)

    with torch.set_grad_enabled(grad):
        keys = module.keys(k, table)
        scores_BHTS = module.scores(q, keys)
        tiles = [tile.clone() for tile in module.score_tiles(q, keys)]
        context_BHTK = module.attend(q, keys, v, None, 0.0)

    expected_BHTS = double_loop(module, q, k, size)
    torch.testing.assert_close(scores_BHTS, expected_BHTS, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat(tiles, 2), expected_BHTS, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(context_BHTK, expected_BHTS.softmax(-1) @ v, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_frames", LENGTHS)
def test_pools_of_one_frame_are_frames(num_frames: int) -> None:
    (module, table), (q, k, _) = relative(1, num_frames), tensors(1, num_frames)
    plain = RelativePositions(d_model=D, num_heads=H, head_dim=K)
    plain.load_state_dict(module.state_dict())

    torch.testing.assert_close(
        module.scores(q, module.keys(k, table)), plain.scores(q, plain.keys(k, table))
    )


@pairwise(size=SIZES, num_frames=LENGTHS)
def test_rotary_keys_are_turned_by_the_time_of_the_middle(size: int, num_frames: int) -> None:
    module = PooledRotaryPositions(pool_size=size)
    q, k, _ = tensors(size, num_frames)
    table = RotaryPositions.table(num_frames, D, H, q)
    at = [middle_of(size) + size * j for j in range(k.shape[2])]
    turned = RotaryPositions().keys(k, rotations(at[-1] + 1, K, q)[:, at]).k_BHTK

    keys = module.keys(k, table)

    torch.testing.assert_close(keys.k_BHTK, turned)
    assert keys.positions is table
    assert module.scores(q, keys).shape == (B, H, num_frames, k.shape[2])


def test_the_middle_of_a_pool() -> None:
    assert [middle_of(size) for size in (1, 2, 3, 4, 5)] == [0, 0, 1, 1, 2]


@pairwise(first=[3, 4, 5, 9], last=[-3, -4, -5, -9])
def test_a_table_within_or_beyond_the_shared_one(first: int, last: int) -> None:
    shared = RelativePositions.table(5, D, H, torch.zeros(1))
    assert shared is not None
    distances = range(first, last - 1, -1)

    torch.testing.assert_close(table_of(distances, shared), sinusoids(distances, D, shared))
