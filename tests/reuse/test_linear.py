from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from asr.encoder.stack import ScheduleRow
from asr.nn.frames import Frames, padding_mask
from asr.nn.positions import PositionKind
from asr.profiling.cost import multiply_adds
from asr.reuse.linear import Linear, features
from tests.encoder.tiny import D_MODEL, NUM_HEADS, POSITIONS, tiny_encoder


def test_features_are_elu_plus_one_and_positive() -> None:
    x = torch.linspace(-20, 20, 401)

    torch.testing.assert_close(features(x), functional.elu(x) + 1)
    assert (features(x.bfloat16()) > 0).all(), "elu(x) + 1 itself is zero from -6 on"


@pytest.mark.parametrize("positions", POSITIONS)
def test_schedule_rows(positions: PositionKind) -> None:
    """Relative positions have no place in it, and no parameters."""
    saved = D_MODEL * D_MODEL + 2 * D_MODEL if positions == "relative" else 0

    assert tiny_encoder(reuse=Linear(), positions=positions).schedule_rows() == [
        ScheduleRow(i, "alone", None, 0, saved, "linear") for i in range(4)
    ]


@pytest.mark.parametrize("positions", POSITIONS)
def test_twice_the_length_is_twice_the_cost(positions: PositionKind) -> None:
    encoder = tiny_encoder(reuse=Linear(), positions=positions)

    def cost(num_frames: int) -> int:
        x_BTD = torch.randn(1, num_frames, D_MODEL)
        table = encoder.positions.table(num_frames, D_MODEL, NUM_HEADS, x_BTD)
        attention = encoder.layers[0].get_submodule("attention")
        return multiply_adds(attention, x_BTD, Frames(position_table=table), None)

    assert cost(200) == 2 * cost(100)


def test_order_reaches_it_through_positions_only() -> None:
    x_BTD = torch.randn(1, 6, D_MODEL)
    moves: dict[PositionKind, bool] = {}
    for positions in POSITIONS:
        encoder = tiny_encoder(reuse=Linear(), positions=positions)
        attention = encoder.layers[0].get_submodule("attention")
        frames = Frames(position_table=encoder.positions.table(6, D_MODEL, NUM_HEADS, x_BTD))
        output_BTD, _ = attention(x_BTD, frames, None)
        backwards_BTD, _ = attention(x_BTD.flip(1), frames, None)
        moves[positions] = not torch.allclose(output_BTD, backwards_BTD.flip(1), atol=1e-5)

    assert moves == {"relative": False, "rotary": True, "none": False}


@pytest.mark.parametrize("positions", POSITIONS)
def test_long_audio_stays_in_range_in_half_precision(positions: PositionKind) -> None:
    num_frames = 3000
    encoder = tiny_encoder(reuse=Linear(), positions=positions)
    attention = encoder.layers[0].get_submodule("attention")
    x_BTD = 10 * torch.randn(2, num_frames, D_MODEL)
    frames = Frames(
        padding_mask(torch.tensor([num_frames, 7]), num_frames),
        encoder.positions.table(num_frames, D_MODEL, NUM_HEADS, x_BTD),
    )
    with torch.no_grad():
        exact_BTD, _ = attention(x_BTD, frames, None)
        with torch.autocast("cpu", torch.float16):
            half_BTD, _ = attention(x_BTD, frames, None)

    assert half_BTD.isfinite().all()
    difference = half_BTD[0].float() - exact_BTD[0]
    assert difference.square().mean().sqrt() < 0.1 * exact_BTD[0].std()
