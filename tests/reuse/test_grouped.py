from __future__ import annotations

import pytest
import torch

from asr.encoder.stack import ScheduleRow
from asr.errors import InputError
from asr.nn.frames import Frames, padding_mask
from asr.nn.positions import PositionKind
from asr.reuse.grouped import Grouped, GroupedAttention
from tests.encoder.tiny import D_MODEL, POSITIONS, tiny_encoder


@pytest.mark.parametrize("size", [-1, 0, 1])
def test_groups_of_less_than_two(size: int) -> None:
    message = f"^reuse.frames_per_group={size}: allowed: a whole number from 2"
    with pytest.raises(InputError, match=message):
        tiny_encoder(reuse=Grouped(frames_per_group=size))


@pytest.mark.parametrize("positions", POSITIONS)
def test_schedule_rows(positions: PositionKind) -> None:
    """Only the projection of relative positions and its biases grow, with the width of a head."""
    size = 3
    more = (size - 1) * (D_MODEL * D_MODEL + 2 * D_MODEL) if positions == "relative" else 0

    rows = tiny_encoder(reuse=Grouped(frames_per_group=size), positions=positions).schedule_rows()

    assert rows == [ScheduleRow(i, "alone", None, 0, -more, "grouped") for i in range(4)]


@pytest.mark.parametrize("num_heads", [1, 2])
def test_identical_groups_hand_each_other_their_frames(num_heads: int) -> None:
    """Where all groups are alike, whoever attends to whom, a frame gets what it gave."""
    encoder = tiny_encoder(reuse=Grouped(frames_per_group=3), positions="none", num_heads=num_heads)
    attention = encoder.layers[0].get_submodule("attention")
    assert isinstance(attention, GroupedAttention)
    x_BTD = torch.randn(2, 3, D_MODEL).repeat(1, 4, 1)

    output_BTD, _ = attention(x_BTD, Frames(), None)

    expected_BTD = attention.mix.output(attention.mix.value(x_BTD))
    torch.testing.assert_close(output_BTD, expected_BTD, atol=1e-5, rtol=1e-5)


def test_a_group_with_one_valid_frame_is_attended_to_and_its_padding_is_nothing() -> None:
    encoder = tiny_encoder(reuse=Grouped(frames_per_group=3), positions="none")
    attention = encoder.layers[0].get_submodule("attention")
    x_BTD = torch.randn(2, 9, D_MODEL)
    frames = Frames(padding_mask(torch.tensor([9, 4]), 9))
    output_BTD, _ = attention(x_BTD, frames, None)

    def moved(frame: int) -> bool:
        other_BTD = x_BTD.clone()
        other_BTD[1, frame] += 1.0
        again_BTD, _ = attention(other_BTD, frames, None)
        return not torch.equal(again_BTD[1, 0], output_BTD[1, 0])

    assert [moved(frame) for frame in range(3, 9)] == [True] + [False] * 5
