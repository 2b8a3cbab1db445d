import math
import time

import pytest
import torch
import torchaudio.compliance.kaldi
from torch import Tensor

from asr.errors import InputError
from asr.features.fbank import LogMel

FBANK = LogMel().eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def padded(waveforms: list[Tensor], num_samples: int) -> tuple[Tensor, Tensor]:
    waveforms_BN = torch.zeros(len(waveforms), num_samples)
    for row, waveform in zip(waveforms_BN, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return waveforms_BN, torch.tensor([len(waveform) for waveform in waveforms])


def naive_log_mel(waveform: Tensor, fbank: LogMel) -> Tensor:
    """Frame after frame, bin after bin, in float64 and straight from the definitions."""
    size, shift = fbank.window_size, fbank.shift_size
    spectrum_size = 2 ** math.ceil(math.log2(size))
    num_frames = max(1, 1 + (len(waveform) - size) // shift)
    signal = torch.zeros(max(len(waveform), size), dtype=torch.float64)
    signal[: len(waveform)] = waveform
    angles = 2 * math.pi * torch.arange(size, dtype=torch.float64) / (size - 1)
    window = 0.5 - 0.5 * angles.cos()
    frequencies = torch.arange(spectrum_size // 2 + 1)[:, None].double()
    turns = 2 * math.pi * frequencies * torch.arange(size)[None] / spectrum_size
    rows = []
    for frame_index in range(num_frames):
        frame = signal[frame_index * shift :][:size].clone()
        frame -= frame.mean()
        frame[1:] = frame[1:] - 0.97 * frame[:-1]
        frame *= window
        power = (turns.cos() @ frame) ** 2 + (turns.sin() @ frame) ** 2
        rows.append((power @ fbank.mel_filters.double()).clamp_min(1e-10).log())
    return torch.stack(rows).float()


@pytest.mark.parametrize("num_samples", [1, 399, 400, 401, 559, 560, 4000])
@pytest.mark.parametrize("offset", [0.0, -0.3])
def test_equals_a_naive_loop(num_samples: int, offset: float) -> None:
    waveform = noise(num_samples) + offset
    features_BTF, lengths_B = FBANK(waveform[None], torch.tensor([num_samples]))
    expected = naive_log_mel(waveform, FBANK)
    assert lengths_B.tolist() == [len(expected)]
    torch.testing.assert_close(features_BTF[0], expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "fbank",
    [
        LogMel(sample_rate_hz=8000, num_mel_bins=40),
        LogMel(sample_rate_hz=22050, num_mel_bins=64, window_ms=20, shift_ms=12.5),
        LogMel(window_ms=32, shift_ms=8, low_hz=100, high_hz=4000, num_mel_bins=23),
        LogMel(window_ms=10, shift_ms=15, num_mel_bins=20),
    ],
)
def test_equals_a_naive_loop_at_other_settings(fbank: LogMel) -> None:
    waveform = noise(5000)
    features_BTF, _ = fbank.eval()(waveform[None], torch.tensor([5000]))
    torch.testing.assert_close(features_BTF[0], naive_log_mel(waveform, fbank), atol=2e-3, rtol=0)


def test_is_close_to_kaldi() -> None:
    """Kaldi draws its triangles over mel, not over Hz; its Hann window is chosen here."""
    waveform = noise(32000)
    kaldi = torchaudio.compliance.kaldi.fbank(
        waveform[None] * 2**15, num_mel_bins=80, window_type="hanning"
    )
    features_BTF, _ = FBANK(waveform[None], torch.tensor([32000]))
    difference = features_BTF[0] - (kaldi - 2 * math.log(2**15))
    assert difference.abs().max() < 0.1
    assert difference.abs().mean() < 0.005


def test_a_tone_peaks_where_it_sounds() -> None:
    waveform = torch.sin(2 * math.pi * 1000 * torch.arange(16000) / 16000)
    features_BTF, _ = FBANK(waveform[None], torch.tensor([16000]))
    peaks_hz = FBANK.mel_filters.argmax(dim=0) * 16000 / 512
    assert abs(float(peaks_hz[features_BTF[0].mean(dim=0).argmax()]) - 1000) < 50


@pytest.mark.parametrize(
    ("num_samples", "num_frames"),
    [(0, 1), (1, 1), (400, 1), (559, 1), (560, 2), (16000, 98), (256000, 1598)],
)
def test_number_of_frames(num_samples: int, num_frames: int) -> None:
    features_BTF, lengths_B = FBANK(torch.zeros(1, num_samples), torch.tensor([num_samples]))
    assert lengths_B.tolist() == [num_frames]
    assert features_BTF.shape == (1, num_frames, 80)
    assert torch.isfinite(features_BTF).all()


def test_padding_changes_nothing() -> None:
    waveforms = [noise(n, seed=n) for n in (16000, 9001, 560, 559, 300, 12345)]
    features_BTF, lengths_B = FBANK(*padded(waveforms, 20000))
    for waveform, features_TF, length in zip(waveforms, features_BTF, lengths_B, strict=True):
        alone_BTF, alone_length = FBANK(waveform[None], torch.tensor([len(waveform)]))
        assert alone_length.tolist() == [int(length)]
        torch.testing.assert_close(features_TF[:length], alone_BTF[0], atol=1e-6, rtol=1e-6)
        assert not features_TF[length:].any()


def test_a_frame_sees_its_own_window_alone() -> None:
    waveform = noise(1, 4000)
    before_BTF, _ = FBANK(waveform, torch.tensor([4000]))
    changed = waveform.clone()
    first = 10 * 160  # frame 10 covers samples first to first + 400
    changed[:, :first] = 1.0
    changed[:, first + 400 :] = -1.0
    after_BTF, _ = FBANK(changed, torch.tensor([4000]))
    torch.testing.assert_close(after_BTF[0, 10], before_BTF[0, 10], atol=1e-5, rtol=0)
    assert (after_BTF[0, 9] - before_BTF[0, 9]).abs().max() > 0.1


def test_louder_is_higher() -> None:
    waveform = noise(1, 8000)
    quiet_BTF, _ = FBANK(waveform, torch.tensor([8000]))
    loud_BTF, _ = FBANK(10 * waveform, torch.tensor([8000]))
    difference = loud_BTF - quiet_BTF
    torch.testing.assert_close(
        difference, torch.full_like(difference, math.log(100)), atol=1e-3, rtol=0
    )


def test_dither_only_in_training() -> None:
    fbank = LogMel(dither=1e-3)
    waveform, lengths_B = noise(1, 8000), torch.tensor([8000])
    plain_BTF, _ = FBANK(waveform, lengths_B)
    torch.manual_seed(0)
    noisy_BTF, _ = fbank.train()(waveform, lengths_B)
    torch.manual_seed(0)
    again_BTF, _ = fbank(waveform, lengths_B)
    assert torch.equal(noisy_BTF, again_BTF)
    assert not torch.equal(noisy_BTF, plain_BTF)
    assert torch.equal(fbank.eval()(waveform, lengths_B)[0], plain_BTF)


@pytest.mark.gpu
def test_on_cuda() -> None:
    waveform, lengths_B = noise(2, 16000), torch.tensor([16000, 9000])
    features_BTF, frames_B = LogMel().cuda()(waveform.cuda(), lengths_B.cuda())
    assert features_BTF.is_cuda
    assert frames_B.is_cuda
    torch.testing.assert_close(features_BTF.cpu(), FBANK(waveform, lengths_B)[0], atol=2e-3, rtol=0)


def test_gradients_reach_the_waveform() -> None:
    waveform = noise(1, 2000).requires_grad_()
    FBANK(waveform, torch.tensor([2000]))[0].sum().backward()
    assert waveform.grad is not None
    assert torch.isfinite(waveform.grad).all()
    assert waveform.grad.abs().sum() > 0


def test_has_no_state_to_store() -> None:
    assert not FBANK.state_dict()


def test_sixteen_seconds_take_milliseconds() -> None:
    waveform, lengths_B = noise(1, 256000), torch.tensor([256000])
    times_s = []
    with torch.inference_mode():
        for _ in range(10):
            start_s = time.process_time()
            FBANK(waveform, lengths_B)
            times_s.append(time.process_time() - start_s)
    assert min(times_s) < 0.05  # of processor time, about 0.003; a loop over frames takes 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_ms": 0.0}, r"features\.fbank\.window_ms=0\.0: allowed: a number from 1"),
        ({"window_ms": -25.0}, r"features\.fbank\.window_ms=-25"),
        ({"shift_ms": 0.01}, r"features\.fbank\.shift_ms=0\.01: allowed: a number from 1"),
        ({"num_mel_bins": 0}, r"features\.fbank\.num_mel_bins=0: allowed: a whole number from 1"),
        ({"num_mel_bins": 400}, r"features\.fbank\.num_mel_bins: 400 leaves \d+ filters"),
        ({"high_hz": 9000.0}, r"features\.fbank\.low_hz, high_hz: 20, 9000 .* 8000"),
        ({"low_hz": 5000.0, "high_hz": 4000.0}, r"low_hz, high_hz: 5000, 4000 must rise"),
        ({"low_hz": -1.0}, r"low_hz=-1"),
        ({"sample_rate_hz": 0}, r"features\.fbank\.sample_rate_hz=0"),
    ],
)
def test_settings_that_cannot_be(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LogMel(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_samples", [1, 399, 400, 401, 9_000])
def test_the_convolution_of_an_exported_graph_is_the_fourier_transform(
    num_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveforms_BN, lengths_B = noise(2, num_samples) + 0.3, torch.tensor([num_samples, 1])
    waveforms_BN[1, 1:] = 0.0
    expected_BTF, expected_B = FBANK(waveforms_BN, lengths_B)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    found_BTF, found_B = FBANK(waveforms_BN, lengths_B)
    assert torch.equal(found_B, expected_B)
    torch.testing.assert_close(found_BTF[0], expected_BTF[0], rtol=0, atol=2e-3)
