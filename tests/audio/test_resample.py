import numpy as np
import pytest
from numpy.typing import NDArray

from asr.audio.resample import resample
from asr.types import Waveform


def tone(rate_hz: int, hz: float, duration_s: float = 0.5) -> NDArray[np.float32]:
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return np.sin(2 * np.pi * hz * times_s).astype(np.float32)


def test_the_same_rate_gives_the_same_object() -> None:
    waveform = Waveform(tone(16000, 440), 16000)
    assert resample(waveform, 16000) is waveform


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000, 96000])
def test_a_tone_stays_that_tone(rate_hz: int) -> None:
    result = resample(Waveform(tone(rate_hz, 440), rate_hz), 16000)
    expected = tone(16000, 440)
    assert result.sample_rate_hz == 16000
    assert result.samples.dtype == np.float32
    assert abs(len(result.samples) - len(expected)) <= 1
    inner = slice(800, 7000)  # away from the edges, where the filter sees silence
    np.testing.assert_allclose(result.samples[inner], expected[inner], atol=1e-3)


def test_what_the_lower_rate_cannot_hold_is_removed() -> None:
    result = resample(Waveform(tone(48000, 11000), 48000), 16000)
    assert np.abs(result.samples[800:7000]).max() < 1e-3


@pytest.mark.parametrize("num_samples", [1, 2, 7])
def test_a_few_samples_do_not_vanish(num_samples: int) -> None:
    result = resample(Waveform(np.ones(num_samples, np.float32), 192000), 8000)
    assert len(result.samples) >= 1
    assert np.isfinite(result.samples).all()
