"""Speed perturbation: tempo, lengths, and where it must not act."""

from __future__ import annotations

import pytest
import torch

from asr.errors import InputError
from asr.features.augment import SpeedPerturb


def tone(frequency_hz: float, num_samples: int) -> torch.Tensor:
    time_s = torch.arange(num_samples) / 16000
    return torch.sin(2 * torch.pi * frequency_hz * time_s)


def test_faster_is_shorter_and_higher() -> None:
    waveforms_BN = tone(400.0, 16000).unsqueeze(0)
    played_BN, lengths_B = SpeedPerturb(factors=[1.25])(waveforms_BN, torch.tensor([16000]))
    assert lengths_B.tolist() == [12800]
    assert played_BN.shape == (1, 12800)
    spectrum = torch.fft.rfft(played_BN[0, 2000:10000]).abs()
    assert spectrum.argmax().item() * 16000 / 8000 == pytest.approx(500.0, abs=2.0)


def test_every_length_is_scaled_and_padding_stays_behind_it() -> None:
    waveforms_BN = torch.zeros(2, 8000)
    waveforms_BN[0] = tone(300.0, 8000)
    waveforms_BN[1, :4000] = tone(300.0, 4000)
    played_BN, lengths_B = SpeedPerturb(factors=[0.8])(waveforms_BN, torch.tensor([8000, 4000]))
    assert lengths_B.tolist() == [10000, 5000]
    assert lengths_B.dtype == torch.int64
    assert played_BN[1, 5100:].abs().max() < 1e-3


def test_rests_outside_training() -> None:
    waveforms_BN, lengths_B = torch.randn(2, 4000), torch.tensor([4000, 3000])
    played_BN, played_lengths_B = SpeedPerturb(factors=[0.5]).eval()(waveforms_BN, lengths_B)
    assert played_BN is waveforms_BN
    assert played_lengths_B is lengths_B


def test_a_seed_fixes_the_factors() -> None:
    perturb = SpeedPerturb(factors=[0.9, 1.0, 1.1])

    def lengths() -> list[int]:
        torch.manual_seed(7)
        batch = torch.zeros(1, 9900), torch.tensor([9900])
        return [int(perturb(*batch)[1]) for _ in range(12)]

    assert lengths() == lengths()
    assert set(lengths()) == {11000, 9900, 9000}


def test_each_utterance_has_its_own_factor_and_sounds_as_it_does_alone() -> None:
    waveforms_BN = torch.randn(32, 9900)
    waveforms_BN[1::2, 5000:] = 0.0
    lengths_B = torch.tensor([9900, 5000] * 16)
    perturb = SpeedPerturb(factors=[0.9, 1.0, 1.1])
    played_BN, played_lengths_B = perturb(waveforms_BN, lengths_B)
    factors_B = lengths_B / played_lengths_B
    assert {round(factor, 1) for factor in factors_B.tolist()} == {0.9, 1.0, 1.1}
    for played_N, waveform_N, factor in zip(
        played_BN, waveforms_BN, factors_B.tolist(), strict=True
    ):
        alone = SpeedPerturb(factors=[round(factor, 1)])
        alone_1N, _ = alone(waveform_N.unsqueeze(0), torch.tensor([9900]))
        assert torch.allclose(played_N[: alone_1N.shape[1]], alone_1N[0], atol=1e-6)
        assert played_N[alone_1N.shape[1] :].abs().sum() == 0.0


def test_at_its_longest_every_utterance_is_slowest() -> None:
    perturb = SpeedPerturb(factors=[1.0, 0.9, 1.1])
    perturb.at_longest = True
    _, lengths_B = perturb(torch.zeros(5, 9900), torch.full((5,), 9900))
    assert lengths_B.tolist() == [11000] * 5
    assert perturb.slowest_s(9.9) == pytest.approx(11.0)


def test_leaves_nothing_in_a_saved_model() -> None:
    assert not SpeedPerturb(factors=[0.9, 1.1]).state_dict()


@pytest.mark.parametrize("factors", [[], [0.0], [1.0, -1.1]])
def test_factors_that_cannot_be_are_refused(factors: list[float]) -> None:
    with pytest.raises(InputError, match=r"features\.speed\.factors"):
        SpeedPerturb(factors=factors)
