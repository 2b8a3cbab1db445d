from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.errors import InputError
from asr.nn import positions as tiling
from asr.nn.frames import Frames, padding_mask
from asr.reuse.top_k import FollowTopK, LeadTopK, ReuseTopK
from tests.encoder.tiny import D_MODEL, NUM_HEADS, tiny_encoder

T, KEPT = 9, 3


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", 4)


def pair(num_kept: int = KEPT) -> tuple[LeadTopK, FollowTopK]:
    encoder = tiny_encoder(reuse=ReuseTopK(group_size=2, num_kept=num_kept), positions="none")
    leader, follower = (encoder.layers[i].get_submodule("attention") for i in (0, 1))
    assert isinstance(leader, LeadTopK)
    assert isinstance(follower, FollowTopK)
    return leader, follower


def thinned(probs_BHTT: Tensor, num_kept: int) -> Tensor:
    """The map with all but the largest entries removed, divided by what is left of each row."""
    lowest_BHT1 = probs_BHTT.sort(-1, descending=True).values[..., num_kept - 1 : num_kept]
    kept_BHTT = probs_BHTT * (probs_BHTT >= lowest_BHT1)
    return kept_BHTT / kept_BHTT.sum(-1, keepdim=True)


@pytest.mark.parametrize("num_kept", [0, -3])
def test_a_number_below_one(num_kept: int) -> None:
    with pytest.raises(
        InputError, match=rf"^reuse\.num_kept={num_kept}: allowed: a whole number from 1"
    ):
        ReuseTopK(group_size=2, num_kept=num_kept)


def test_what_travels_grows_with_the_length_only() -> None:
    leader, follower = pair()
    x_BTD = torch.randn(2, T, D_MODEL)

    _, carry = leader(x_BTD, Frames(), None)

    assert carry is not None
    assert carry.top_BHTN.shape == carry.index_BHTN.shape == (2, NUM_HEADS, T, KEPT)
    found_BHTT = follower.attention_map(x_BTD, Frames(), carry)
    expected_BHTT = thinned(leader.scores(x_BTD, Frames()), KEPT)
    torch.testing.assert_close(found_BHTT, expected_BHTT)


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
    dense_BTD = follower.mix(x_BTD, thinned(leader.scores(x_BTD, Frames()), KEPT))

    torch.testing.assert_close(output_BTD, dense_BTD, atol=1e-5, rtol=1e-5)
    weight_BTD = torch.randn_like(output_BTD)
    found = torch.autograd.grad((output_BTD * weight_BTD).sum(), parameters)
    expected = torch.autograd.grad((dense_BTD * weight_BTD).sum(), parameters)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("length", [1, 2, KEPT, T])
def test_fewer_frames_than_are_kept(length: int) -> None:
    """By padding or by the whole batch: a row keeps what there is."""
    leader, follower = pair(num_kept=5)
    x_BTD = torch.randn(2, T, D_MODEL)
    frames = Frames(padding_mask(torch.tensor([T, length]), T))

    _, carry = leader(x_BTD, frames, None)
    padded_BTD, _ = follower(x_BTD, frames, carry)
    _, carry = leader(x_BTD[1:, :length], Frames(), None)
    alone_BTD, _ = follower(x_BTD[1:, :length], Frames(), carry)

    assert carry is not None
    assert carry.top_BHTN.shape[-1] == min(5, length)
    assert padded_BTD.isfinite().all()
    torch.testing.assert_close(padded_BTD[1, :length], alone_BTD[0], atol=1e-5, rtol=1e-5)
