from __future__ import annotations

import pytest
import torch

from asr.encoder.stack import ScheduleRow
from asr.errors import InputError
from asr.nn.frames import Frames, padding_mask
from asr.nn.positions import PositionKind
from asr.reuse.pooled import Pooled, PooledAttention
from tests.encoder.tiny import D_MODEL, NUM_HEADS, POSITIONS, tiny_encoder


@pytest.mark.parametrize("size", [-1, 0, 1])
def test_pools_of_less_than_two(size: int) -> None:
    with pytest.raises(
        InputError, match=f"^reuse.pool_size={size}: allowed: a whole number from 2"
    ):
        tiny_encoder(reuse=Pooled(pool_size=size))


@pytest.mark.parametrize("positions", POSITIONS)
def test_parameters_are_those_of_full_attention(positions: PositionKind) -> None:
    pooled = tiny_encoder(reuse=Pooled(pool_size=3), positions=positions)
    full = tiny_encoder(positions=positions)

    assert pooled.schedule_rows() == [
        ScheduleRow(i, "alone", None, 0, 0, "pooled") for i in range(4)
    ]
    assert {name: tensor.shape for name, tensor in pooled.state_dict().items()} == {
        name: tensor.shape for name, tensor in full.state_dict().items()
    }


def test_keys_and_values_are_averages_without_padding() -> None:
    encoder = tiny_encoder(reuse=Pooled(pool_size=3), positions="none")
    attention = encoder.layers[0].get_submodule("attention")
    assert isinstance(attention, PooledAttention)
    x_BTD = torch.randn(1, 8, D_MODEL)
    frames = Frames(padding_mask(torch.tensor([4]), 8))

    output_BTD, _ = attention(x_BTD, frames, None)

    pools_SD = torch.stack([x_BTD[0, :3].mean(0), x_BTD[0, 3]])
    q_HTK = attention.scores.query(x_BTD[0]).view(8, NUM_HEADS, -1).transpose(0, 1)
    k_HSK = attention.scores.key(pools_SD).view(2, NUM_HEADS, -1).transpose(0, 1)
    v_HSK = attention.mix.value(pools_SD).view(2, NUM_HEADS, -1).transpose(0, 1)
    probs_HTS = (q_HTK @ k_HSK.transpose(1, 2) * q_HTK.shape[2] ** -0.5).softmax(-1)
    expected_TD = attention.mix.output((probs_HTS @ v_HSK).transpose(0, 1).flatten(1))
    torch.testing.assert_close(output_BTD[0], expected_TD, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_frames_that_do_not_differ_inside_a_pool_may_as_well_be_pooled(size: int) -> None:
    encoder = tiny_encoder(reuse=Pooled(pool_size=size), positions="none")
    full = tiny_encoder(positions="none")
    x_BTD = torch.randn(2, 4, D_MODEL).repeat_interleave(size, 1)

    pooled_BTD, _ = encoder.layers[0].get_submodule("attention")(x_BTD, Frames(), None)
    full_BTD, _ = full.layers[0].get_submodule("attention")(x_BTD, Frames(), None)

    torch.testing.assert_close(pooled_BTD, full_BTD, atol=1e-5, rtol=1e-5)
