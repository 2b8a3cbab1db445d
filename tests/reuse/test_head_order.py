from __future__ import annotations

import pytest
import torch

from asr.encoder.maps import EncoderLayer
from asr.nn.positions import PositionKind
from asr.reuse.head_order import heads_of, reorder_heads
from asr.reuse.none import AloneAttention
from tests.encoder.tiny import NUM_MEL_BINS, POSITIONS, tiny_encoder


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_model_with_its_heads_in_another_order_computes_the_same(
    positions: PositionKind,
) -> None:
    encoder = tiny_encoder(positions=positions, num_heads=4)
    inputs = torch.randn(2, 90, NUM_MEL_BINS), torch.tensor([90, 61])
    before = encoder(*inputs).frames_BTD
    weights = {name: one.clone() for name, one in encoder.state_dict().items()}
    maps = attention_of(encoder.layers[1]).scores.query.weight.clone()
    for layer, order in enumerate([[3, 1, 0, 2], [1, 0, 3, 2], [2, 3, 0, 1], [0, 1, 2, 3]]):
        reorder_heads(attention_of(encoder.layers[layer]), order)
    after = encoder(*inputs).frames_BTD
    torch.testing.assert_close(after[0], before[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after[1, :15], before[1, :15], atol=1e-5, rtol=1e-5)
    changed = {name for name, one in encoder.state_dict().items() if not one.equal(weights[name])}
    assert all(".attention." in name for name in changed)
    moved = attention_of(encoder.layers[1]).scores.query.weight.view(4, 4, -1)
    assert torch.equal(moved, maps.view(4, 4, -1)[[1, 0, 3, 2]])


def test_each_parameter_counts_its_heads_along_its_own_dimension() -> None:
    tensor = torch.arange(12).view(6, 2)
    assert heads_of(tensor, [2, 0], 3).tolist() == [[8, 9], [10, 11], [0, 1], [2, 3]]
    assert heads_of(tensor.T, [1], 3, dim=1).tolist() == [[4, 6], [5, 7]]
    assert heads_of(torch.arange(3), [2, 1, 0], 3).tolist() == [2, 1, 0]


def attention_of(layer: EncoderLayer | torch.nn.Module) -> AloneAttention:
    attention = layer.attention
    assert isinstance(attention, AloneAttention)
    return attention
