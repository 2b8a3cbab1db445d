from __future__ import annotations

import re

import pytest
import torch

from asr.encoder.stack import ScheduleRow
from asr.errors import InputError
from asr.nn.frames import Frames
from asr.nn.tiles import KeptRows
from asr.reuse.heads import FollowHeads, HeadsCarry, ReuseHeads, each_head
from asr.reuse.schedule import schedule_from_leaders
from tests.encoder.tiny import D_MODEL, tiny_encoder

H = 4


@pytest.mark.parametrize("num_reused", [-1, 0, H + 1])
@pytest.mark.parametrize("pattern", ["LF", "A"])
def test_a_number_of_heads_that_is_not_there(num_reused: int, pattern: str) -> None:
    message = f"reuse.num_reused={num_reused}: allowed: 1 to encoder.num_heads={H}"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        tiny_encoder(reuse=ReuseHeads(pattern=pattern, num_reused=num_reused), num_heads=H)


@pytest.mark.parametrize(
    ("max_reuse_layer", "leaders"),
    [
        (None, [0, 0, 0, 0, 4, 4, 4, 4]),
        (7, [0, 0, 0, 0, 4, 4, 4, 4]),
        (6, [0, 0, 0, 0, 4, 4, 4, 7]),
        (4, [0, 0, 0, 0, 4, 5, 6, 7]),
        (2, [0, 0, 0, 3, 4, 5, 6, 7]),
        (0, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_layers_above_the_last_that_reuses_compute_their_own(
    max_reuse_layer: int | None, leaders: list[int]
) -> None:
    reuse = ReuseHeads(group_size=4, num_reused=1, max_reuse_layer=max_reuse_layer)

    assert reuse.schedule(8) == schedule_from_leaders(leaders, 8)


def test_the_setting_of_the_paper() -> None:
    """Layer 0 computes, layers 1 to 6 reuse all heads, layers 7 to 11 compute."""
    reuse = ReuseHeads(groups=[12], num_reused=H, max_reuse_layer=6)

    assert [row.role for row in reuse.schedule(12)] == [
        role.role for role in schedule_from_leaders([0] * 7 + list(range(7, 12)), 12)
    ]


@pytest.mark.parametrize("num_reused", [1, 2, 3, 4])
def test_schedule_rows(num_reused: int) -> None:
    encoder = tiny_encoder(
        reuse=ReuseHeads(leaders=[0, 0, 2, 0], num_reused=num_reused), num_heads=H
    )
    all_heads = 3 * D_MODEL * D_MODEL + 4 * D_MODEL
    saved = all_heads * num_reused // H

    assert encoder.schedule_rows() == [
        ScheduleRow(0, "lead", None, 0, 0, "heads"),
        ScheduleRow(1, "follow", 0, num_reused, saved, "heads"),
        ScheduleRow(2, "alone", None, 0, 0, "heads"),
        ScheduleRow(3, "follow", 0, num_reused, saved, "heads"),
    ]


@pytest.mark.parametrize(
    ("num_reused", "emitted"),
    [
        (1, ["fresh 0"]),
        (2, ["fresh 0", "fresh 1"]),
        (3, ["fresh 0", "carried 0", "carried 1"]),
    ],
)
def test_a_follower_hands_on_fresh_heads_first(num_reused: int, emitted: list[str]) -> None:
    encoder = tiny_encoder(
        reuse=ReuseHeads(group_size=4, num_reused=num_reused), positions="none", num_heads=H
    )
    follower = encoder.layers[1].get_submodule("attention")
    assert isinstance(follower, FollowHeads)
    x_BTD = torch.randn(2, 5, D_MODEL)
    carried_BHTT = torch.randn(2, num_reused, 5, 5).softmax(-1)

    _, carry = follower(x_BTD, Frames(), HeadsCarry(each_head(KeptRows((carried_BHTT,)))))

    assert carry is not None
    fresh_BHTT = follower.scores(x_BTD, Frames())
    heads = {f"fresh {head}": fresh_BHTT[:, head] for head in range(H - num_reused)}
    heads |= {f"carried {head}": carried_BHTT[:, head] for head in range(num_reused)}
    for probs_B1TT, name in zip(carry.heads, emitted, strict=True):
        assert torch.equal(probs_B1TT.whole().squeeze(1), heads[name])


def test_dropout_spares_what_is_handed_on() -> None:
    torch.manual_seed(0)
    encoder = tiny_encoder(
        reuse=ReuseHeads(group_size=4, num_reused=2), positions="none", num_heads=H, dropout=0.5
    ).train()
    x_BTD = torch.randn(2, 6, D_MODEL)
    carry = None

    for layer in encoder.layers:
        _, carry = layer.get_submodule("attention")(x_BTD, Frames(), carry)
        heads_BHTT = torch.cat([head.whole() for head in carry.heads], 1)
        torch.testing.assert_close(heads_BHTT.sum(-1), torch.ones(2, 2, 6))
        assert (heads_BHTT > 0).all()


def test_maps_are_handed_on_and_not_copied() -> None:
    encoder = tiny_encoder(
        reuse=ReuseHeads(group_size=4, num_reused=3), positions="none", num_heads=H
    )
    first, second, third = (encoder.layers[i].get_submodule("attention") for i in range(3))
    x_BTD = torch.randn(2, 6, D_MODEL)

    _, led = first(x_BTD, Frames(), None)
    _, once = second(x_BTD, Frames(), led)
    _, twice = third(x_BTD, Frames(), once)

    def places(carry: HeadsCarry) -> list[int]:
        return [head.whole().data_ptr() for head in carry.heads]

    assert places(once)[1:] == places(led)[:2]
    assert places(twice)[1:] == places(once)[:2]
