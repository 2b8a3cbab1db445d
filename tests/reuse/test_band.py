from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.errors import InputError
from asr.nn import positions as tiling
from asr.nn.frames import Frames, padding_mask
from asr.profiling.cost import multiply_adds
from asr.reuse.band import FollowBand, LeadBand, ReuseBand, band_of
from tests.encoder.tiny import D_MODEL, NUM_HEADS, tiny_encoder

T, WIDTH, TILE = 9, 2, 4


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", TILE)


def pair() -> tuple[LeadBand, FollowBand]:
    encoder = tiny_encoder(reuse=ReuseBand(group_size=2, width=WIDTH), positions="none")
    leader, follower = (encoder.layers[i].get_submodule("attention") for i in (0, 1))
    assert isinstance(leader, LeadBand)
    assert isinstance(follower, FollowBand)
    return leader, follower


def banded(probs_BHTT: Tensor, width: int) -> Tensor:
    """The map with all but the band removed, divided by what is left of each row."""
    time_T = torch.arange(probs_BHTT.shape[-1])
    kept_BHTT = probs_BHTT * ((time_T - time_T[:, None]).abs() <= width)
    return kept_BHTT / kept_BHTT.sum(-1, keepdim=True)


@pytest.mark.parametrize("width", [0, -3])
def test_a_width_below_one(width: int) -> None:
    with pytest.raises(InputError, match=rf"^reuse\.width={width}: allowed: a whole number from 1"):
        ReuseBand(group_size=2, width=width)


def test_what_travels_is_the_band_of_each_tile() -> None:
    leader, _ = pair()
    x_BTD = torch.randn(2, T, D_MODEL)

    _, carry = leader(x_BTD, Frames(), None)

    assert carry is not None
    expected_BHTT = banded(leader.scores(x_BTD, Frames()), WIDTH)
    reach = [(0, 4, 0, 6), (4, 8, 2, 9), (8, 9, 6, 9)]  # rows, and the keys near them
    for (row, stop, near, end), band_BHRS in zip(reach, carry.band_BHRS, strict=True):
        torch.testing.assert_close(band_BHRS, expected_BHTT[:, :, row:stop, near:end])


def test_the_leader_uses_its_full_map() -> None:
    leader, _ = pair()
    x_BTD = torch.randn(2, T, D_MODEL)
    frames = Frames(padding_mask(torch.tensor([T, 5]), T))

    with torch.no_grad():
        output_BTD, _ = leader(x_BTD, frames, None)

    full_BTD = leader.mix(x_BTD, leader.scores(x_BTD, frames))
    torch.testing.assert_close(output_BTD, full_BTD, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_whole_map() -> None:
    leader, follower = pair()
    x_BTD = torch.randn(2, T, D_MODEL, requires_grad=True)
    parameters = [x_BTD, *leader.scores.parameters(), *follower.mix.parameters()]
    _, carry = leader(x_BTD, Frames(), None)
    output_BTD, _ = follower(x_BTD, Frames(), carry)
    dense_BTD = follower.mix(x_BTD, banded(leader.scores(x_BTD, Frames()), WIDTH))

    torch.testing.assert_close(output_BTD, dense_BTD, atol=1e-5, rtol=1e-5)
    weight_BTD = torch.randn_like(output_BTD)
    found = torch.autograd.grad((output_BTD * weight_BTD).sum(), parameters)
    expected = torch.autograd.grad((dense_BTD * weight_BTD).sum(), parameters)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_rows_sum_to_one_however_little_the_leader_looks_there(
    mode: type[torch.enable_grad] | type[torch.no_grad],
) -> None:
    """Every row looks at the last frame alone; beyond the band nothing of that is left."""
    scores_BHTT = torch.zeros(1, NUM_HEADS, T, T, requires_grad=True)
    far_BHTT = scores_BHTT + 1e4 * (torch.arange(T) == T - 1)
    with mode():
        band_BHRS = band_of(far_BHTT[:, :, :TILE], 0, WIDTH, None)

    assert not far_BHTT.softmax(-1)[:, :, 0, : WIDTH + 1].any()
    torch.testing.assert_close(band_BHRS.sum(-1), torch.ones(1, NUM_HEADS, TILE))
    if band_BHRS.requires_grad:
        (gradient,) = torch.autograd.grad(band_BHRS.square().sum(), scores_BHTT)
        assert gradient.isfinite().all()


def test_rows_of_padding_stay_finite() -> None:
    leader, follower = pair()
    x_BTD = torch.randn(2, T, D_MODEL)
    frames = Frames(padding_mask(torch.tensor([T, 2]), T))

    _, carry = leader(x_BTD, frames, None)
    output_BTD, _ = follower(x_BTD, frames, carry)

    assert output_BTD.isfinite().all()
    probs_BHTT = follower.attention_map(x_BTD, frames, carry)
    assert probs_BHTT is not None
    assert not probs_BHTT[1, :, :2, 2:].any()


def test_a_follower_costs_in_proportion_to_the_length() -> None:
    leader, follower = pair()

    def cost(num_frames: int) -> int:
        x_BTD = torch.randn(1, num_frames, D_MODEL)
        _, carry = leader(x_BTD, Frames(), None)
        return multiply_adds(follower, x_BTD, Frames(), carry)

    inner = TILE * (TILE + 2 * WIDTH) * D_MODEL + 2 * TILE * D_MODEL * D_MODEL
    assert cost(80) - cost(40) == 10 * inner
    assert cost(400) - cost(80) == 80 * inner
