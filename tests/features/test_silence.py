"""Random silence: the words are all there, somewhere."""

from __future__ import annotations

import pytest
import torch

from asr.errors import InputError
from asr.features.augment import RandomSilence


def test_every_utterance_is_moved_whole() -> None:
    torch.manual_seed(0)
    lengths_B = torch.tensor([50, 30, 1])
    waveforms_BN = torch.zeros(3, 50)
    for row, length in enumerate(lengths_B):
        waveforms_BN[row, :length] = torch.rand(int(length)) + 1
    padder = RandomSilence(max_lead_s=0.2, max_tail_s=0.1, sample_rate_hz=100)
    leads = set()
    for _ in range(50):
        moved_BN, moved_lengths_B = padder(waveforms_BN, lengths_B)
        assert moved_BN.shape[1] == moved_lengths_B.max() or moved_BN.shape[1] >= 50
        for row, length in enumerate(lengths_B.tolist()):
            (place,) = (moved_BN[row] > 0).nonzero(as_tuple=True)
            lead = int(place[0])
            leads.add(lead)
            assert torch.equal(moved_BN[row, lead : lead + length], waveforms_BN[row, :length])
            assert 0 <= lead <= 20
            assert lead + length <= int(moved_lengths_B[row]) <= lead + length + 10
            assert (moved_BN[row] > 0).sum() == length
    assert len(leads) > 10


def test_a_share_of_the_utterances_stays_as_cut() -> None:
    torch.manual_seed(0)
    padder = RandomSilence(max_lead_s=0.2, max_tail_s=0.2, probability=0.3, sample_rate_hz=100)
    moved_BN, lengths_B = padder(torch.ones(1000, 50), torch.full((1000,), 50))
    assert (lengths_B > 50).double().mean().item() == pytest.approx(0.3, abs=0.05)
    assert (moved_BN.sum(1) == 50).all()


def test_silence_within_is_at_the_quietest_moment() -> None:
    """Both halves are there, whole and in order, and what is between them is silent."""
    torch.manual_seed(0)
    lengths_B = torch.tensor([500, 300, 3])
    waveforms_BN = torch.zeros(3, 500)
    for row, length in enumerate(lengths_B.tolist()):
        waveforms_BN[row, :length] = torch.rand(length) + 1
    waveforms_BN[0, 204:206] = 0.5  # frame 102 of two samples
    waveforms_BN[1, 0:2] = 0.1  # not in the middle half
    waveforms_BN[1, 100:102] = 0.5
    padder = RandomSilence(max_lead_s=0.1, max_tail_s=0.1, max_middle_s=1, sample_rate_hz=100)
    middles = set()
    for _ in range(20):
        moved_BN, moved_lengths_B = padder(waveforms_BN, lengths_B)
        for row, (length, cut) in enumerate(zip((500, 300, 3), (205, 101, 1), strict=True)):
            (place,) = (moved_BN[row] > 0).nonzero(as_tuple=True)
            assert torch.equal(moved_BN[row, place], waveforms_BN[row, :length])
            middle = int(place[cut] - place[cut - 1]) - 1
            assert int(place[-1] - place[0]) == length - 1 + middle
            assert 0 <= middle <= 100
            assert int(place[-1]) < int(moved_lengths_B[row]) <= length + 120
            middles.add(middle)
    assert len(middles) > 20


def test_at_longest_is_the_longest() -> None:
    padder = RandomSilence(
        max_lead_s=0.1, max_tail_s=0.2, max_middle_s=0.4, probability=0, sample_rate_hz=100
    )
    padder.at_longest = True
    _, lengths_B = padder(torch.ones(2, 50), torch.tensor([50, 20]))
    assert lengths_B.tolist() == [120, 90]


def test_noise_in_place_of_zeros() -> None:
    """Of the level that is asked for, and neither over speech nor in the padding."""
    torch.manual_seed(0)
    options = {"max_lead_s": 20, "max_tail_s": 20, "max_middle_s": 20, "sample_rate_hz": 100}
    padder = RandomSilence(noise_db=[-60, -60], **options)
    moved_BN, lengths_B = padder(torch.full((8, 50), 0.5), torch.full((8,), 50))
    silence = []
    for row, length in enumerate(lengths_B.tolist()):
        inside_N = moved_BN[row, :length]
        assert (inside_N == 0.5).sum() == 50
        silence.append(inside_N[inside_N != 0.5])
        assert not moved_BN[row, length:].any()
    level = torch.cat(silence).square().mean().sqrt()
    assert 20 * level.log10().item() == pytest.approx(-60, abs=0.2)


@pytest.mark.parametrize("noise_db", [[-50, -80], [-50], [-80, -60, -50]])
def test_levels_that_cannot_be(noise_db: list[float]) -> None:
    with pytest.raises(InputError, match=r"features\.silence\.noise_db=.*two levels that rise"):
        RandomSilence(max_lead_s=0, max_tail_s=0, noise_db=noise_db)


@pytest.mark.parametrize("probability", [-0.1, 1.5, float("nan")])
def test_a_share_that_cannot_be(probability: float) -> None:
    with pytest.raises(InputError, match=r"features\.silence\.probability=.* from 0 to 1"):
        RandomSilence(max_lead_s=0.1, max_tail_s=0.1, probability=probability)


def test_rests_outside_training() -> None:
    batch = torch.randn(1, 9), torch.tensor([9])
    same = RandomSilence(max_lead_s=1, max_tail_s=1).eval()(*batch)
    assert same[0] is batch[0]
    assert same[1] is batch[1]


def test_negative_silence_is_refused() -> None:
    with pytest.raises(InputError, match=r"features\.silence\.max_lead_s"):
        RandomSilence(max_lead_s=-0.1, max_tail_s=0)
