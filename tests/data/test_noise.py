from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.data.augment import NoiseMix
from asr.data.manifest import CheckedUtterance, write_manifest
from asr.errors import InputError

RATE_HZ = 16_000
SPEECH_N = np.random.default_rng(5).normal(0, 0.05, RATE_HZ).astype(np.float32)


def write_sound(folder: Path, part: str, samples: NDArray[np.float64], rate_hz: int) -> Path:
    """A manifest with one recording in ``folder``."""
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / f"{part}.wav", samples, rate_hz)
    one = CheckedUtterance(
        part, folder / f"{part}.wav", 0.0, len(samples) / rate_hz, rate_hz, 1, "", None
    )
    write_manifest([one], folder / f"{part}.jsonl.gz")
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., NoiseMix]:
    def make(
        duration_s: float = 3.0, *, rate_hz: int = RATE_HZ, level: float = 0.2, **options: float
    ) -> NoiseMix:
        noise = level * np.random.default_rng(1).standard_normal(round(duration_s * rate_hz))
        folder = str(write_sound(tmp_path / "musan", "noise", noise, rate_hz))
        settings = {"low_snr_db": 10.0, "high_snr_db": 10.0, "probability": 1.0, **options}
        return NoiseMix(folder=folder, parts=["noise"], **settings)

    return make


def snr_db(noisy_N: NDArray[np.float32]) -> float:
    added_N = noisy_N - SPEECH_N
    return float(10 * np.log10(np.square(SPEECH_N).sum() / np.square(added_N).sum()))


@pytest.mark.parametrize(
    ("duration_s", "rate_hz"), [(3.0, RATE_HZ), (0.2, RATE_HZ), (1.0, RATE_HZ), (3.0, 8_000)]
)
def test_noise_is_as_loud_as_the_ratio_says(
    make: Callable[..., NoiseMix], duration_s: float, rate_hz: int
) -> None:
    noisy_N = make(duration_s, rate_hz=rate_hz)(SPEECH_N, RATE_HZ, random.Random(0))
    assert noisy_N.dtype == np.float32
    assert noisy_N.shape == SPEECH_N.shape
    assert snr_db(noisy_N) == pytest.approx(10.0, abs=1e-3)


def test_ratios_are_spread_over_the_range(make: Callable[..., NoiseMix]) -> None:
    mix = make(low_snr_db=0.0, high_snr_db=20.0)
    found = [snr_db(mix(SPEECH_N, RATE_HZ, random.Random(seed))) for seed in range(60)]
    assert min(found) >= -1e-3
    assert max(found) <= 20.001
    assert max(found) - min(found) > 15


def test_a_short_noise_is_played_in_a_loop(make: Callable[..., NoiseMix]) -> None:
    added_N = make(0.25)(SPEECH_N, RATE_HZ, random.Random(0)) - SPEECH_N
    np.testing.assert_allclose(added_N[:4000], added_N[4000:8000], atol=1e-6)


def test_the_generator_decides(make: Callable[..., NoiseMix]) -> None:
    mix = make(probability=0.5)
    first, again, other = (mix(SPEECH_N, RATE_HZ, random.Random(seed)) for seed in (1, 1, 3))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    untouched = sum(mix(SPEECH_N, RATE_HZ, random.Random(seed)) is SPEECH_N for seed in range(200))
    assert 70 < untouched < 130


def test_silence_stays_silence(make: Callable[..., NoiseMix]) -> None:
    silence_N = np.zeros(RATE_HZ, np.float32)
    assert not make()(silence_N, RATE_HZ, random.Random(0)).any()
    assert make(level=0.0)(SPEECH_N, RATE_HZ, random.Random(0)) is SPEECH_N


def test_without_a_folder_nothing_is_added() -> None:
    mix = NoiseMix(folder=None, parts=["noise"], low_snr_db=1, high_snr_db=2, probability=1.0)
    assert mix(SPEECH_N, RATE_HZ, random.Random(0)) is SPEECH_N


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ["noise", "rain"]}, r"data\.noise\.folder: .* no manifest rain.*it has noise$"),
        ({"folder": "nowhere"}, r"data\.noise\.folder: nowhere has no manifest .*`asr prepare`"),
        ({"parts": []}, r"data\.noise\.parts: name one"),
        ({"low_snr_db": 30.0}, r"low_snr_db, high_snr_db: 30, 20 must rise"),
        ({"probability": 1.5}, r"data\.noise\.probability=1\.5: allowed: a number from 0 to 1"),
    ],
)
def test_settings_that_cannot_be(
    make: Callable[..., NoiseMix], tmp_path: Path, options: dict[str, object], message: str
) -> None:
    make()
    settings = {
        **{"folder": str(tmp_path / "musan"), "parts": ["noise"]},
        **{"low_snr_db": 10.0, "high_snr_db": 20.0, "probability": 0.5},
        **options,
    }
    with pytest.raises(InputError, match=message):
        NoiseMix(**settings)  # type: ignore[arg-type]
