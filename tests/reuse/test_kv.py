from __future__ import annotations

import torch

from asr.encoder.stack import ScheduleRow
from asr.nn.attention import softmax_over_keys
from asr.nn.frames import Frames
from asr.nn.positions import PositionKind
from asr.reuse.kv import FollowKeysValues, LeadKeysValues, ReuseKeysValues
from tests.encoder.tiny import D_MODEL, NUM_HEADS, POSITIONS, tiny_encoder

T = 6


def test_schedule_rows() -> None:
    """Keys, values and, with relative positions, the position projection; every map is its own."""
    saved: dict[PositionKind, int] = dict.fromkeys(POSITIONS, 2 * (D_MODEL * D_MODEL + D_MODEL))
    saved["relative"] += D_MODEL * D_MODEL

    for positions in POSITIONS:
        encoder = tiny_encoder(reuse=ReuseKeysValues(pattern="LAF"), positions=positions)
        assert encoder.schedule_rows() == [
            ScheduleRow(0, "lead", None, 0, 0, "kv"),
            ScheduleRow(1, "alone", None, 0, 0, "kv"),
            ScheduleRow(2, "follow", 0, 0, saved[positions], "kv"),
            ScheduleRow(3, "alone", None, 0, 0, "kv"),
        ]


def test_a_follower_asks_its_own_questions_with_its_own_biases() -> None:
    encoder = tiny_encoder(reuse=ReuseKeysValues(group_size=4), positions="relative")
    leader, follower = (encoder.layers[layer].get_submodule("attention") for layer in (0, 1))
    assert isinstance(leader, LeadKeysValues)
    assert isinstance(follower, FollowKeysValues)
    x_BTD, other_BTD = torch.randn(2, 2, T, D_MODEL)
    frames = Frames(position_table=encoder.positions.table(T, D_MODEL, NUM_HEADS, x_BTD))

    _, carry = leader(x_BTD, frames, None)
    output_BTD, handed_on = follower(other_BTD, frames, carry)

    assert carry is not None
    assert handed_on is carry
    _, keys = leader.scores.project(x_BTD, frames)
    scores_BHTT = follower.scores.positions.scores(follower.scores.project(other_BTD), keys)
    context_BHTK = softmax_over_keys(scores_BHTT, None) @ leader.mix.project(x_BTD)
    torch.testing.assert_close(output_BTD, follower.mix.merge(context_BHTK), atol=1e-5, rtol=1e-5)
    own = follower.scores.positions.get_parameter("content_bias_HK")
    assert not torch.equal(own, leader.scores.positions.get_parameter("content_bias_HK"))


def test_each_layer_draws_its_own_dropout() -> None:
    torch.manual_seed(0)
    reuse = ReuseKeysValues(group_size=4)
    encoder = tiny_encoder(reuse=reuse, positions="none", dropout=0.5).train()
    leader, first, second = (encoder.layers[i].get_submodule("attention") for i in range(3))
    second.load_state_dict(first.state_dict())
    x_BTD = torch.randn(2, T, D_MODEL)
    _, carry = leader(x_BTD, Frames(), None)

    assert not torch.equal(first(x_BTD, Frames(), carry)[0], second(x_BTD, Frames(), carry)[0])
    first.eval()
    second.eval()
    assert torch.equal(first(x_BTD, Frames(), carry)[0], second(x_BTD, Frames(), carry)[0])
