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
