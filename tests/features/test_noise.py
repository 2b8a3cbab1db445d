"""White noise: its level, and where it must not be."""

from __future__ import annotations

import pytest
import torch

from asr.errors import InputError
from asr.features.augment import WhiteNoise


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_noise_has_the_level_asked_for(snr_db: float) -> None:
    torch.manual_seed(0)
    waveforms_BN = torch.randn(2, 40_000) * torch.tensor([[0.1], [3.0]])
    waveforms_BN[1, 20_000:] = 0
    lengths_B = torch.tensor([40_000, 20_000])
    noisy_BN, same_B = WhiteNoise(low_snr_db=snr_db, high_snr_db=snr_db)(waveforms_BN, lengths_B)
    assert same_B is lengths_B
    for row, length in enumerate(lengths_B.tolist()):
        clean, noisy = waveforms_BN[row, :length], noisy_BN[row, :length]
        ratio_db = 10 * torch.log10(clean.square().mean() / (noisy - clean).square().mean())
        assert ratio_db.item() == pytest.approx(snr_db, abs=0.3)
    assert not noisy_BN[1, 20_000:].any()


def test_ratios_spread_over_the_range() -> None:
    torch.manual_seed(0)
    waveforms_BN = torch.ones(200, 500)
    noisy_BN, _ = WhiteNoise(low_snr_db=10, high_snr_db=30)(waveforms_BN, torch.full((200,), 500))
    ratio_db = -10 * torch.log10((noisy_BN - 1).square().mean(1))
    assert ratio_db.min() > 9
    assert ratio_db.max() < 31
    assert ratio_db.std().item() == pytest.approx(20 / 12**0.5, rel=0.2)


def test_a_share_of_the_utterances_stays_clean() -> None:
    torch.manual_seed(0)
    waveforms_BN = torch.ones(1000, 50)
    noise = WhiteNoise(low_snr_db=10, high_snr_db=30, probability=0.3)
    noisy_BN, _ = noise(waveforms_BN, torch.full((1000,), 50))
    is_noisy_B = (noisy_BN != waveforms_BN).any(1)
    assert is_noisy_B.double().mean().item() == pytest.approx(0.3, abs=0.05)
    assert (noisy_BN != waveforms_BN)[is_noisy_B].double().mean() > 0.99


@pytest.mark.parametrize("probability", [-0.1, 1.5, float("nan")])
def test_a_share_that_cannot_be(probability: float) -> None:
    with pytest.raises(InputError, match=r"features\.noise\.probability=.* from 0 to 1"):
        WhiteNoise(low_snr_db=10, high_snr_db=30, probability=probability)


def test_silence_stays_finite_and_evaluation_untouched() -> None:
    noise = WhiteNoise(low_snr_db=10, high_snr_db=30)
    silent = torch.zeros(1, 100), torch.tensor([100])
    assert not noise(*silent)[0].any()
    assert noise.eval()(*silent)[0] is silent[0]


def test_a_range_that_falls_is_refused() -> None:
    with pytest.raises(InputError, match=r"features\.noise\.low_snr_db"):
        WhiteNoise(low_snr_db=20, high_snr_db=10)
