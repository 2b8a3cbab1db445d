from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.encoder.stack import ScheduleRow
from asr.errors import InputError
from asr.nn.frames import Frames
from asr.nn.tiles import KeptRows, RowSource
from asr.reuse.base import AttentionParts
from asr.reuse.schedule import LayerRole, Role
from asr.reuse.scores import (
    CorrectedRows,
    Correction,
    DiagonalCorrection,
    FollowScores,
    LowRankCorrection,
    NoCorrection,
    ReuseScores,
    ScoreCorrection,
    ScoresCarry,
)
from tests.encoder.tiny import D_MODEL, NUM_HEADS, tiny_encoder

H, T = 2, 6


@pytest.mark.parametrize(("bandwidth", "rank"), [(0, 8), (8, 0), (-1, -1)])
@pytest.mark.parametrize("correction", ["none", "diagonal", "low_rank"])
def test_sizes_below_one(correction: Correction, bandwidth: int, rank: int) -> None:
    with pytest.raises(
        InputError, match=r"^reuse\.(bandwidth|rank)=-?[01]: allowed: a whole number"
    ):
        ReuseScores(group_size=2, correction=correction, bandwidth=bandwidth, rank=rank)


def test_a_correction_that_does_not_exist() -> None:
    correction: Any = "diagnal"
    message = "reuse.correction='diagnal': allowed: none, diagonal, low_rank"

    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        ReuseScores(group_size=2, correction=correction)


@pytest.mark.parametrize(
    ("correction", "added"),
    [
        ("none", 0),
        ("diagonal", NUM_HEADS * (2 * 3 + 1)),
        ("low_rank", 2 * D_MODEL * NUM_HEADS * 5),
    ],
)
def test_schedule_rows(correction: Correction, added: int) -> None:
    reuse = ReuseScores(pattern="LAF", correction=correction, bandwidth=3, rank=5)
    saved = 3 * D_MODEL * D_MODEL + 4 * D_MODEL - added

    assert tiny_encoder(reuse=reuse).schedule_rows() == [
        ScheduleRow(0, "lead", None, 0, 0, "scores"),
        ScheduleRow(1, "alone", None, 0, 0, "scores"),
        ScheduleRow(2, "follow", 0, NUM_HEADS, saved, "scores"),
        ScheduleRow(3, "alone", None, 0, 0, "scores"),
    ]


@pytest.mark.parametrize(
    ("correction", "kind"),
    [("none", NoCorrection), ("diagonal", DiagonalCorrection), ("low_rank", LowRankCorrection)],
)
def test_a_new_follower_begins_with_the_scores_of_its_leader(
    correction: Correction, kind: type[nn.Module]
) -> None:
    parts = AttentionParts(d_model=D_MODEL, num_heads=H, positions="none", dropout=0.0)
    follower = ReuseScores(group_size=2, correction=correction).attention(
        LayerRole(1, Role.FOLLOW, leader=0), parts
    )
    assert isinstance(follower, FollowScores)
    assert type(follower.correction) is kind
    scores_BHTT = torch.randn(2, H, T, T)
    given = ScoresCarry(KeptRows(torch.split(scores_BHTT, 4, 2)))

    _, carry = follower(torch.randn(2, T, D_MODEL), Frames(), given)

    assert carry is not None
    assert torch.equal(carry.scores_BHTT.whole(), scores_BHTT)


@pytest.mark.parametrize("bandwidth", [1, 2, T - 1, T, 50])
@pytest.mark.parametrize("num_frames", [1, 2, T])
@pytest.mark.parametrize("tile_rows", [1, 4, T])
def test_the_diagonal_is_corrected_by_distance(
    bandwidth: int, num_frames: int, tile_rows: int
) -> None:
    """Key minus query from -bandwidth to bandwidth, and nothing beyond."""
    correction = DiagonalCorrection(num_heads=H, bandwidth=bandwidth)
    nn.init.normal_(correction.bias_HW)
    scores_BHTT = torch.randn(2, H, num_frames, num_frames)

    corrected_BHRT = list(correction(torch.split(scores_BHTT, tile_rows, 2), torch.empty(0)))
    added_BHTT = torch.cat(corrected_BHRT, 2) - scores_BHTT

    for i in range(num_frames):
        for j in range(num_frames):
            near = abs(j - i) <= bandwidth
            bias_H = correction.bias_HW[:, bandwidth + j - i] if near else torch.zeros(H)
            torch.testing.assert_close(added_BHTT[:, :, i, j], bias_H.expand(2, H))


def test_the_narrow_scores_have_the_rank_asked_for() -> None:
    correction = LowRankCorrection(d_model=D_MODEL, num_heads=H, rank=2)
    nn.init.normal_(correction.narrow_query.weight)

    tiles_BHRT = torch.split(torch.zeros(3, H, T, T), 4, 2)
    added_BHTT = torch.cat(list(correction(tiles_BHRT, torch.randn(3, T, D_MODEL))), 2)

    assert (torch.linalg.matrix_rank(added_BHTT.double(), rtol=1e-5) == 2).all()


def test_padding_is_masked_by_each_layer_for_itself() -> None:
    """What is carried is not masked: an infinity would survive any correction as it should not."""
    encoder = tiny_encoder(reuse=ReuseScores(group_size=4), positions="none")
    x_BTD, carry = torch.randn(2, T, D_MODEL), None
    mask = torch.tensor([[False] * T, [False] * 4 + [True] * 2])

    for layer in encoder.layers:
        x_BTD, carry = layer(x_BTD, Frames(mask), carry)
        assert all(tile_BHRT.isfinite().all() for tile_BHRT in carry.scores_BHTT.tiles())


class Counted:
    """A leader's scores (B, H, T, T) by tiles of 4 rows; counts how many rows it was asked for."""

    def __init__(self, scores_BHTT: Tensor) -> None:
        self.scores_BHTT = scores_BHTT
        self.num_frames = scores_BHTT.shape[2]
        self.num_rows = 0

    def tiles(self, first_row: int = 0) -> Iterator[Tensor]:
        for tile_BHRT in torch.split(self.scores_BHTT[:, :, first_row:], 4, 2):
            self.num_rows += tile_BHRT.shape[2]
            yield tile_BHRT


@pytest.mark.parametrize("make", ["none", "diagonal", "low_rank"])
def test_corrections_do_not_nest(make: str) -> None:
    """However many layers lie between, rows come from the leader and are corrected once."""
    torch.manual_seed(0)
    leader = Counted(torch.randn(2, H, 9, 9))
    inputs = [torch.randn(2, 9, D_MODEL) for _ in range(6)]
    corrections: list[ScoreCorrection] = []
    for _ in inputs:
        one: ScoreCorrection = NoCorrection()
        if make == "diagonal":
            one = DiagonalCorrection(num_heads=H, bandwidth=2)
        elif make == "low_rank":
            one = LowRankCorrection(d_model=D_MODEL, num_heads=H, rank=3)
        for parameter in one.parameters():
            nn.init.normal_(parameter)
        corrections.append(one)
    expected_BHTT = leader.scores_BHTT
    source: RowSource = leader
    with torch.no_grad():
        for correction, x_BTD in zip(corrections, inputs, strict=True):
            whole = correction((expected_BHTT,), x_BTD)  # the equation, layer after layer
            expected_BHTT = torch.cat(list(whole), 2)
            source = CorrectedRows.of(source, correction.terms(x_BTD))
        for first_row in (0, 4, 5):
            leader.num_rows = 0
            found_BHRT = torch.cat(list(source.tiles(first_row)), 2)
            torch.testing.assert_close(found_BHRT, expected_BHTT[:, :, first_row:])
            assert leader.num_rows == 9 - first_row
    assert isinstance(source, CorrectedRows)
    assert source.source is leader
