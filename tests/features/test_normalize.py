import math

import pytest
import torch
from torch import Tensor

from asr.errors import InputError
from asr.features.fbank import LogMel
from asr.features.frontend import Frontend
from asr.features.normalize import NormState, RunningNorm, UtteranceNorm

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


def running(**changed: object) -> RunningNorm:
    """A running normalisation in inference with other statistics than those it starts with."""
    norm = RunningNorm(num_mel_bins=8, **{"memory_frames": 20, "prior_frames": 5, **changed})  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(2)
    norm.mean_F.copy_(torch.randn(8, generator=generator) - 6)
    norm.variance_F.copy_(4 + torch.rand(8, generator=generator))
    return norm.eval()


@both
@pytest.mark.parametrize("fall_db", [0, 15])
def test_a_running_norm_equals_a_naive_loop(variance: bool, fall_db: int) -> None:
    norm = running(variance=variance, range_db=20, fall_db=fall_db)
    fall = fall_db * math.log(10) / 10 / 20
    features_BTF = uneven_features()
    normalised_BTF = norm(features_BTF, LENGTHS_B)
    counted = 0
    for row, length, result in zip(features_BTF, LENGTHS_B.tolist(), normalised_BTF, strict=True):
        mean, square = norm.mean_F.double(), norm.variance_F.double() + norm.mean_F.double() ** 2
        weight, loudest = 5.0, float(mean.logsumexp(0))
        for frame, found in zip(row[:length].double(), result, strict=False):
            energy = float(frame.logsumexp(0))
            loudest = max(loudest - fall, energy, float(norm.mean_F.double().logsumexp(0)))
            least = loudest - 20 * math.log(10) / 10
            frame = frame.clamp_min(least - math.log(8))
            if energy >= least:
                counted += 1
                fade = math.exp(-1 / 20) * weight
                mean = (fade * mean + frame) / (fade + 1)
                square = (fade * square + frame**2) / (fade + 1)
                weight = fade + 1
            expected = frame - mean
            if variance:
                expected = expected / (square - mean**2 + 1e-5).sqrt()
            torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)
        assert not result[length:].any()
    assert 10 < counted < 70, "some frames are counted, others are not"


@pytest.mark.parametrize("size", [1, 7, 200])
@pytest.mark.parametrize("fall_db", [0, 15])
def test_a_running_norm_goes_on_where_it_stopped(size: int, fall_db: int) -> None:
    norm = running(fall_db=fall_db)
    features_BTF = torch.randn(2, 170, 8, generator=torch.Generator().manual_seed(1)) * 3 - 5
    whole_BTF = norm(features_BTF, torch.tensor([170, 170]))
    state, found = norm.start(2), []
    for first in range(0, 170, size):
        piece_BTF = features_BTF[:, first : first + size]
        normal_BTF, state = norm.step(piece_BTF, torch.tensor([piece_BTF.shape[1]] * 2), state)
        found.append(normal_BTF)
    torch.testing.assert_close(torch.cat(found, 1), whole_BTF, atol=1e-5, rtol=1e-5)


def test_a_loud_speaker_is_forgotten_where_the_loudest_frame_falls() -> None:
    """Else quiet speech later on is below the range, and all of it is the end of the range."""
    loud_BTF = torch.randn(1, 60, 8, generator=torch.Generator().manual_seed(1)) + 8
    quiet_BTF = torch.randn(1, 300, 8, generator=torch.Generator().manual_seed(2)) - 4
    heard_BTF, length_B = torch.cat([loud_BTF, quiet_BTF], 1), torch.tensor([360])
    spread = {}
    for fall_db in (0, 15):
        norm = running(range_db=20, fall_db=fall_db)
        spread[fall_db] = float(norm(heard_BTF, length_B)[:, 300:].std(1).mean())
    assert spread[0] < 1e-3
    assert spread[15] > 0.5


def test_silence_before_speech_leaves_the_statistics_alone() -> None:
    norm = running()
    speech_BTF = torch.randn(1, 60, 8, generator=torch.Generator().manual_seed(1)) - 5
    silence_BTF = torch.full((1, 300, 8), math.log(1e-10))
    both_BTF = torch.cat([silence_BTF, speech_BTF], 1)
    after_BTF = norm(both_BTF, torch.tensor([360]))[:, 300:]
    torch.testing.assert_close(
        after_BTF, norm(speech_BTF, torch.tensor([60])), atol=1e-5, rtol=1e-5
    )
    _, state = norm.step(silence_BTF, torch.tensor([300]), norm.start(1))
    assert isinstance(state, NormState)
    assert all(map(torch.equal, state, norm.start(1)))


def test_training_gathers_the_statistics_of_its_frames() -> None:
    norm = RunningNorm(num_mel_bins=8)
    generator = torch.Generator().manual_seed(4)
    batches = [torch.randn(3, 40, 8, generator=generator) * scale - 5 for scale in (1.0, 2.0)]
    for features_BTF in batches:
        norm(features_BTF, torch.tensor([40, 40, 40]))
    frames_NF = torch.cat(batches).flatten(0, 1)
    torch.testing.assert_close(norm.mean_F, frames_NF.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        norm.variance_F, frames_NF.var(0, correction=0), atol=1e-3, rtol=1e-3
    )
    assert norm.num_frames == 240
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    norm.eval()(batches[0] + 7, torch.tensor([40, 40, 40]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())


def test_a_running_norm_of_other_bins_is_refused() -> None:
    with pytest.raises(InputError, match=r"features.normalize.num_mel_bins=8.*num_mel_bins=10"):
        Frontend(fbank=LogMel(num_mel_bins=10), normalize=RunningNorm(num_mel_bins=8))
