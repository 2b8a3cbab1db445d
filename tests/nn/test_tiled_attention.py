"""The gradients of attention in training, against differences and against plain operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.encoder.stack import Encoder
from asr.nn import positions as tiling
from asr.nn import tiled_attention
from asr.nn import tiles as score_tiles
from asr.nn.positions import Keys, Positions, training_tiles
from asr.nn.relative import RelativePositions, RelativeQueries
from asr.reuse.context import ReuseContext
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from asr.reuse.within import ReuseWithin
from tests.encoder.tiny import random_features, randomise, tiny_encoder

B, H, T, K = 3, 2, 5, 4
MASK = torch.tensor([[False] * 5, [False] * 2 + [True] * 3, [False] * 4 + [True]])


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", 2)
    monkeypatch.setattr(score_tiles, "TILE_ENTRIES", 2 * H * 2 * T)


def leaves(*, relative: bool) -> list[Tensor]:
    """Queries, keys, values, and projected distances where there are positions."""
    sizes = [(B, H, T, K)] * 3 + ([(H, K, 2 * T - 1)] if relative else [])
    return [torch.randn(size, dtype=torch.double, requires_grad=True) for size in sizes]


def encoding(*, relative: bool) -> Positions:
    made = RelativeQueries(num_heads=H, head_dim=K) if relative else Positions()
    randomise(made)
    return made.double()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("reach", [None, 1])
@pytest.mark.parametrize("relative", [False, True])
def test_gradients_of_attend(relative: bool, reach: int | None, dropout: float) -> None:
    positions = encoding(relative=relative)

    def context(q: Tensor, k: Tensor, v: Tensor, *r: Tensor) -> Tensor:
        torch.manual_seed(7)
        operands = positions.terms(q, Keys(k, *r)).operands
        tiles = training_tiles(operands, MASK, reach)
        return tiled_attention.attend(operands, v, tiles, dropout)

    assert torch.autograd.gradcheck(context, leaves(relative=relative), fast_mode=True)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("relative", [False, True])
def test_gradients_of_a_map_and_of_two_mixes_by_it(relative: bool, dropout: float) -> None:
    positions = encoding(relative=relative)

    def context(q: Tensor, k: Tensor, v: Tensor, *r: Tensor) -> Tensor:
        torch.manual_seed(7)
        operands = positions.terms(q, Keys(k, *r)).operands
        probs = tiled_attention.attention_map(operands, training_tiles(operands, MASK))
        first = tiled_attention.mix_by_map(probs, v, dropout)
        return first + tiled_attention.mix_by_map(probs, first, dropout)

    assert torch.autograd.gradcheck(context, leaves(relative=relative), fast_mode=True)


@pytest.mark.parametrize("relative", [False, True])
def test_plain_operations_give_the_same(relative: bool) -> None:
    positions = encoding(relative=relative)
    q, k, v, *r = leaves(relative=relative)
    operands = positions.terms(q, Keys(k, *r)).operands
    tiles = training_tiles(operands, MASK)

    probs = tiled_attention.attention_map(operands, tiles)
    context = tiled_attention.attend(operands, v, tiles, 0.0)

    with torch.no_grad():
        scores = positions.scores(q, Keys(k, *r)).masked_fill(MASK[:, None, None], float("-inf"))
    torch.testing.assert_close(probs, scores.softmax(-1))
    torch.testing.assert_close(context, scores.softmax(-1) @ v)


def test_dropout_leaves_entries_of_the_map_whole_or_out() -> None:
    positions = encoding(relative=True)
    q, k, _, *r = leaves(relative=True)
    every_frame = torch.eye(T, dtype=torch.double).expand(B, H, T, T)
    operands = positions.terms(q, Keys(k, *r)).operands
    tiles = training_tiles(operands, None)
    probs = tiled_attention.attention_map(operands, tiles)

    for dropped in (
        tiled_attention.attend(operands, every_frame, tiles, 0.5),
        tiled_attention.mix_by_map(probs, every_frame, 0.5),
    ):
        is_out = dropped == 0
        assert 0.2 < is_out.double().mean() < 0.8
        torch.testing.assert_close(dropped[~is_out], 2 * probs[~is_out])


def test_half_precision_operands() -> None:
    positions = encoding(relative=True)
    q, k, v, *r = leaves(relative=True)
    operands = positions.terms(q, Keys(k.bfloat16(), *r)).operands
    tiles = training_tiles(operands, MASK)

    probs = tiled_attention.attention_map(operands, tiles)
    context = tiled_attention.attend(operands, v, tiles, 0.0)

    assert (probs.dtype, context.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(context.float(), (probs @ v.float()), atol=0.05, rtol=0.05)
    assert all(
        g.isfinite().all() for g in torch.autograd.grad(context.float().sum(), [q, k, v, *r])
    )


def maps_kept(encoder: Encoder, num_frames: int) -> int:
    """How many different tensors with as many entries as a map the backward pass keeps."""
    heads = encoder.num_heads
    kept: set[int] = set()

    def pack(tensor: Tensor) -> Tensor:
        if tensor.numel() >= 2 * heads * num_frames**2 and num_frames in tensor.shape[-2:]:
            kept.add(tensor.untyped_storage().data_ptr())
        return tensor

    features_BTF, lengths_B = random_features([4 * num_frames, 4 * num_frames - 40])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        encoded = encoder(features_BTF, lengths_B)
    assert encoded.frames_BTD.shape[1] == num_frames
    return len(kept)


@pytest.mark.parametrize(
    ("reuse", "num_maps"),
    [
        (NoReuse(), 0),
        (ReuseContext(group_size=2), 0),
        (NoReuse(fused=False), 4),
        (ReuseProbs(group_size=2), 2),
        (ReuseProbs(group_size=4), 1),
        (ReuseWithin(), 4),
    ],
    ids=["none", "context", "explicit", "probs-2", "probs-4", "within"],
)
def test_a_map_is_kept_once_whoever_uses_it(
    reuse: NoReuse | ReuseContext | ReuseProbs | ReuseWithin, num_maps: int
) -> None:
    """Of four layers, with dropout: neither its product nor its mask is kept."""
    encoder = tiny_encoder(reuse=reuse, dropout=0.3).train()

    assert maps_kept(encoder, 97) == num_maps


def test_relative_positions_take_the_projected_distances_they_need() -> None:
    module = RelativePositions(d_model=H * K, num_heads=H, head_dim=K)
    table = module.table(T, H * K, H, torch.zeros(1))
    k = torch.randn(B, H, T, K)
    operands = module.terms(torch.randn(B, H, T, K), module.keys(k, table)).operands

    tiles = training_tiles(operands, None)

    assert [tile.rows for tile in tiles] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert [tile.distances for tile in tiles] == [slice(3, 9), slice(1, 7), slice(0, 5)]
