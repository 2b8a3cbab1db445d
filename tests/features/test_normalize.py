import math

import pytest
import torch
from torch import Tensor

from asr.errors import InputError
from asr.features.fbank import LogMel
from asr.features.frontend import Frontend
from asr.features.normalize import UtteranceNorm

FEATURES_BTF = 3 * torch.randn(3, 50, 8, generator=torch.Generator().manual_seed(0)) - 7
LENGTHS_B = torch.tensor([50, 31, 1])
both = pytest.mark.parametrize("variance", [False, True])


@both
def test_equals_a_naive_loop(variance: bool) -> None:
    normalised_BTF = UtteranceNorm(variance=variance)(FEATURES_BTF, LENGTHS_B)
    for row, length, result in zip(FEATURES_BTF, LENGTHS_B.tolist(), normalised_BTF, strict=True):
        valid = row[:length].double()
        expected = valid - valid.mean(dim=0)
        if variance:
            expected = expected / (valid.var(dim=0, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(result[:length], expected.float(), atol=1e-5, rtol=1e-5)
        assert not result[length:].any()


@both
def test_padding_changes_nothing_whatever_it_holds(variance: bool) -> None:
    norm = UtteranceNorm(variance=variance)
    for filler in (0.0, 1e6, float("nan")):
        batch_BTF = torch.full((3, 90, 8), filler)
        for row, features, length in zip(batch_BTF, FEATURES_BTF, LENGTHS_B, strict=True):
            row[:length] = features[:length]
        normalised_BTF = norm(batch_BTF, LENGTHS_B)
        for row, features, length in zip(normalised_BTF, FEATURES_BTF, LENGTHS_B, strict=True):
            alone_BTF = norm(features[None, :length], length[None])
            torch.testing.assert_close(row[:length], alone_BTF[0], atol=1e-5, rtol=1e-5)
            assert not row[length:].any()


@both
def test_level_of_the_recording_vanishes(variance: bool) -> None:
    norm = UtteranceNorm(variance=variance)
    shifted_BTF = FEATURES_BTF + 5.0
    torch.testing.assert_close(
        norm(shifted_BTF, LENGTHS_B), norm(FEATURES_BTF, LENGTHS_B), atol=1e-4, rtol=0
    )


@both
def test_digital_silence_is_zero(variance: bool) -> None:
    silence_BTF = torch.full((2, 40, 8), -23.0)
    normalised_BTF = UtteranceNorm(variance=variance)(silence_BTF, torch.tensor([40, 17]))
    assert normalised_BTF.abs().max() < 1e-2


def uneven_features() -> Tensor:
    """Log energies (3, 50, 8) whose frames lie up to 100 dB below the loudest."""
    down_BT1 = 100 * torch.rand(3, 50, 1, generator=torch.Generator().manual_seed(1))
    return FEATURES_BTF - down_BT1 * math.log(10) / 10


@both
def test_frames_out_of_range_do_not_count(variance: bool) -> None:
    features_BTF = uneven_features()
    normalised_BTF = UtteranceNorm(variance=variance, range_db=50.0)(features_BTF, LENGTHS_B)
    for row, length, result in zip(features_BTF, LENGTHS_B.tolist(), normalised_BTF, strict=True):
        valid = row[:length].double()
        energy_db = 10 * valid.exp().sum(dim=1).log10()
        is_loud = energy_db >= energy_db.max() - 50
        least = (energy_db.max() - 50) * math.log(10) / 10 - math.log(8)  # white noise over 8 bins
        assert length == 1 or (valid < least).any()
        valid = valid.clamp_min(least)
        loud = valid[is_loud]
        assert length == 1 or 0 < len(loud) < length
        expected = valid - loud.mean(dim=0)
        if variance:
            expected = expected / (loud.var(dim=0, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(result[:length], expected.float(), atol=1e-4, rtol=1e-5)
        assert not result[length:].any()


@both
def test_padding_changes_no_statistics_of_loud_frames(variance: bool) -> None:
    norm = UtteranceNorm(variance=variance, range_db=50.0)
    features_BTF = uneven_features()
    for filler in (0.0, 1e6, -1e6, float("nan"), float("inf")):
        batch_BTF = torch.full((3, 90, 8), filler)
        batch_BTF[:, :50] = features_BTF
        for row, length in enumerate(LENGTHS_B.tolist()):
            batch_BTF[row, length:] = filler
        normalised_BTF = norm(batch_BTF, LENGTHS_B)
        for row, length in enumerate(LENGTHS_B.tolist()):
            alone_BTF = norm(features_BTF[row : row + 1, :length], LENGTHS_B[row : row + 1])
            torch.testing.assert_close(
                normalised_BTF[row, :length], alone_BTF[0], atol=1e-5, rtol=1e-5
            )
            assert not normalised_BTF[row, length:].any()


@both
@pytest.mark.parametrize("lead_s", [0.5, 20.0])
@pytest.mark.parametrize("level", [0.0, 10 ** (-90 / 20)])
def test_silence_around_speech_leaves_its_features_alone(
    variance: bool, lead_s: float, level: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    speech_N = 0.1 * torch.randn(16_000, generator=generator)
    lead_N = level * torch.randn(round(16_000 * lead_s), generator=generator)
    frontend = Frontend(fbank=LogMel(), normalize=UtteranceNorm(variance=variance, range_db=50.0))
    plain_BTF, _ = frontend(speech_N[None], torch.tensor([len(speech_N)]))
    late_N = torch.cat([lead_N, speech_N, lead_N])
    late_BTF, _ = frontend(late_N[None], torch.tensor([len(late_N)]))
    first = len(lead_N) // 160
    found_TF, expected_TF = late_BTF[0, first + 1 : first + 97], plain_BTF[0, 1:97]
    # Two frames at the seams are half silent and count as well.
    assert (found_TF - expected_TF).square().mean().sqrt() < 0.3
    old = Frontend(fbank=LogMel(), normalize=UtteranceNorm(variance=variance))
    old_BTF, _ = old(late_N[None], torch.tensor([len(late_N)]))
    assert (old_BTF[0, first + 1 : first + 97] - expected_TF).square().mean().sqrt() > 0.9


@both
def test_silence_alone_is_zero_with_a_range_too(variance: bool) -> None:
    silence_BTF = torch.full((2, 40, 8), -23.0)
    norm = UtteranceNorm(variance=variance, range_db=50.0)
    assert norm(silence_BTF, torch.tensor([40, 17])).abs().max() < 1e-2


@both
def test_a_range_that_holds_every_frame_is_none_at_all(variance: bool) -> None:
    without = UtteranceNorm(variance=variance)(FEATURES_BTF, LENGTHS_B)
    within = UtteranceNorm(variance=variance, range_db=1000.0)(FEATURES_BTF, LENGTHS_B)
    assert torch.equal(without, within)


def test_all_deep_silence_looks_the_same() -> None:
    """Zeros, an offset, the rounding of 16 bits, noise of -100 dB: one floor after the words."""
    speech_N = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    noise_N = torch.randn(16_000, generator=torch.Generator().manual_seed(1))
    norm = UtteranceNorm(variance=True, range_db=50.0)
    seen = []
    silences = [0 * noise_N, 0 * noise_N, (noise_N / 2).round() / 2**15, 1e-5 * noise_N]
    for silence_N, offset in zip(silences, [0.0, 0.2, 0.0, 0.0], strict=True):
        waveform_N = torch.cat([speech_N, silence_N]) + offset
        features_BTF, _ = Frontend(fbank=LogMel(), normalize=norm)(
            waveform_N[None], torch.tensor([len(waveform_N)])
        )
        seen.append(features_BTF[0, 105:195])
    assert all((one - one[0]).abs().max() < 1e-3 for one in seen)
    assert all((one - seen[0]).abs().max() < 1e-2 for one in seen)


@pytest.mark.parametrize("range_db", [0.0, -50.0, math.nan, math.inf])
def test_a_range_that_cannot_be(range_db: float) -> None:
    with pytest.raises(InputError, match=r"features\.normalize\.range_db=.* above 0"):
        UtteranceNorm(variance=True, range_db=range_db)
