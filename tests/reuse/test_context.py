from __future__ import annotations

import pytest
import torch
from torch import nn

from asr.encoder.stack import ScheduleRow
from asr.nn.frames import Frames
from asr.nn.positions import PositionKind
from asr.reuse.context import FollowContext, LeadContext, ReuseContext
from tests.encoder.tiny import D_MODEL, NUM_HEADS, POSITIONS, tiny_encoder

T = 6
VALUE = D_MODEL * D_MODEL + D_MODEL


@pytest.mark.parametrize("positions", POSITIONS)
def test_schedule_rows(positions: PositionKind) -> None:
    """The followers' values lie with the leader; a follower keeps its output projection only."""
    encoder = tiny_encoder(reuse=ReuseContext(leaders=[0, 0, 2, 0]), positions=positions)
    scores = 2 * VALUE + (D_MODEL * D_MODEL + 2 * D_MODEL if positions == "relative" else 0)
    norm = 2 * D_MODEL

    assert encoder.schedule_rows() == [
        ScheduleRow(0, "lead", None, 0, -2 * VALUE, "context"),
        ScheduleRow(1, "follow", 0, NUM_HEADS, scores + VALUE + norm, "context"),
        ScheduleRow(2, "alone", None, 0, 0, "context"),
        ScheduleRow(3, "follow", 0, NUM_HEADS, scores + VALUE + norm, "context"),
    ]


def test_contexts_are_handed_out_in_order() -> None:
    encoder = tiny_encoder(reuse=ReuseContext(group_size=4), positions="none")
    leader, *followers = (layer.get_submodule("attention") for layer in encoder.layers)
    assert isinstance(leader, LeadContext)
    x_BTD = torch.randn(2, T, D_MODEL)

    _, carry = leader(x_BTD, Frames(), None)
    probs_BHTT = leader.scores(x_BTD, Frames())

    assert carry is not None
    assert len(carry.contexts) == 3
    for number, follower in enumerate(followers):
        assert isinstance(follower, FollowContext)
        rows = slice(number * D_MODEL, (number + 1) * D_MODEL)
        v_BTD = nn.functional.linear(
            x_BTD, leader.followers_value.weight[rows], leader.followers_value.bias[rows]
        )
        context_BHTK = probs_BHTT @ v_BTD.view(2, T, NUM_HEADS, -1).transpose(1, 2)
        output_BTD, carry = follower(torch.full_like(x_BTD, float("nan")), Frames(), carry)
        expected_BTD = follower.mix.merge(context_BHTK)
        torch.testing.assert_close(output_BTD, expected_BTD, atol=1e-5, rtol=1e-5)
        assert carry is not None
    assert carry.contexts == ()


def test_the_group_shares_one_draw_of_dropout() -> None:
    """The map is dropped once and then multiplied with the values of the whole group."""
    torch.manual_seed(0)
    encoder = tiny_encoder(reuse=ReuseContext(group_size=4), positions="none", dropout=0.5).train()
    leader = encoder.layers[0].get_submodule("attention")
    assert isinstance(leader, LeadContext)
    for value in (leader.mix.value, leader.followers_value):
        nn.init.zeros_(value.weight)
        nn.init.ones_(value.bias)
    x_BTD = torch.randn(2, T, D_MODEL)

    _, carry = leader(x_BTD, Frames(), None)
    _, again = leader(x_BTD, Frames(), None)

    assert carry is not None
    assert again is not None
    first, *others = carry.contexts
    assert first.std() > 0.1
    assert all(torch.equal(first, other) for other in others)
    assert not torch.equal(first, again.contexts[0])
