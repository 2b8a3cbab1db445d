"""Silence in the forms that recordings have it, and speech as quiet as it comes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.decode.silence import is_silent
from asr.types import Waveform

RATE_HZ = 16_000
SECONDS = 5 * RATE_HZ
RNG = np.random.default_rng(0)


def noise(level_db: float, num_samples: int = SECONDS) -> NDArray[np.float32]:
    white: NDArray[np.float32] = RNG.standard_normal(num_samples, dtype=np.float32)
    return (10 ** (level_db / 20) * white).astype(np.float32)


def zeros(num_samples: int = SECONDS) -> NDArray[np.float32]:
    return np.zeros(num_samples, dtype=np.float32)


def in_16_bits(samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
    return (np.rint(samples_N * 2**15) / 2**15).astype(np.float32)


def hum(level_db: float) -> NDArray[np.float32]:
    wave = np.sin(2 * np.pi * 50 * np.arange(SECONDS) / RATE_HZ)
    return (10 ** (level_db / 20) * 2**0.5 * wave).astype(np.float32)


def words(level_db: float, num_samples: int = SECONDS) -> NDArray[np.float32]:
    """Noise that rises and falls four times a second, by 30 dB, as syllables do."""
    envelope = np.abs(np.sin(2 * np.pi * 2 * np.arange(num_samples) / RATE_HZ)) ** 2
    return noise(level_db, num_samples) * envelope.clip(0.03).astype(np.float32)


def click(samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
    clicked = samples_N.copy()
    clicked[len(samples_N) // 3] = 0.9
    return clicked


@pytest.mark.parametrize(
    "samples_N",
    [
        pytest.param(zeros(), id="zeros"),
        pytest.param(zeros(100), id="a few zeros"),
        pytest.param(zeros(0), id="nothing"),
        pytest.param(zeros() + 0.3, id="constant"),
        pytest.param(-zeros(30) - 1.0, id="a short constant"),
        pytest.param(np.concatenate([zeros(), zeros() + 0.5]), id="a step"),
        pytest.param(click(zeros()), id="a click"),
        pytest.param(noise(-90), id="noise of -90 dB"),
        pytest.param(noise(-80), id="noise of -80 dB"),
        pytest.param(noise(-60), id="noise of -60 dB"),
        pytest.param(noise(-60) + 0.2, id="noise of -60 dB on a constant"),
        pytest.param(np.concatenate([zeros(), noise(-70), zeros()]), id="noise between zeros"),
        pytest.param(in_16_bits(noise(-96)), id="dither"),
        pytest.param(in_16_bits(noise(-88)), id="strong dither"),
        pytest.param(hum(-60), id="hum"),
        pytest.param(
            resample(Waveform(zeros(44_100) + 0.5, 44_100), RATE_HZ).samples, id="resampled step"
        ),
    ],
)
def test_silence(samples_N: NDArray[np.float32]) -> None:
    assert is_silent(samples_N, RATE_HZ)
    assert not is_silent(samples_N, RATE_HZ, silence_db=None)


@pytest.mark.parametrize(
    "samples_N",
    [
        pytest.param(words(-25), id="usual"),
        pytest.param(words(-48), id="quiet"),
        pytest.param(words(-70), id="whispered far away"),
        pytest.param(np.concatenate([zeros(25 * RATE_HZ), words(-40)]), id="late"),
        pytest.param(
            np.concatenate([zeros(29 * RATE_HZ), words(-30, 4_000), zeros(8_000)]), id="one word"
        ),
        pytest.param(np.concatenate([noise(-60), words(-35), noise(-60)]), id="in a quiet room"),
        pytest.param(noise(-25), id="loud noise, which a model must judge"),
        pytest.param(words(-30, 1_600), id="a tenth of a second"),
    ],
)
def test_what_may_be_speech(samples_N: NDArray[np.float32]) -> None:
    assert not is_silent(samples_N, RATE_HZ)


def test_no_recording_of_speech_is_silent(speech_dir: Path) -> None:
    """Nor 25 dB below the level at which it was recorded."""
    paths = sorted(speech_dir.glob("librispeech/*/*/*/*.flac"))[::10]
    paths += sorted(speech_dir.glob("an4/*/*/*/*.flac"))[::20]
    paths += sorted(speech_dir.glob("fsdd/*/*/*/*.flac"))[::40]
    assert paths
    for path in paths:
        waveform = read_audio(path)
        for gain in (1.0, 10 ** (-25 / 20)):
            samples_N = (gain * waveform.samples).astype(np.float32)
            assert not is_silent(samples_N, waveform.sample_rate_hz), path
