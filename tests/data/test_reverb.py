from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.data.augment import Reverb, convolve
from asr.data.manifest import CheckedUtterance, write_manifest

RATE_HZ = 16_000
SPEECH_N = np.random.default_rng(5).normal(0, 0.05, 4000).astype(np.float32)


def response(delay: int, num_samples: int = 2000) -> NDArray[np.float32]:
    """Silence, a direct path of negative sign, and a tail that dies away."""
    tail = np.random.default_rng(2).normal(0, 0.1, num_samples) * np.exp(
        -np.arange(num_samples) / 300
    )
    return np.concatenate([np.zeros(delay), [-1.0], tail]).astype(np.float32)


@pytest.mark.parametrize("delay", [0, 7, 500])
def test_words_stay_in_place_and_energy_is_kept(delay: int) -> None:
    heard_N = convolve(SPEECH_N, response(delay))
    assert heard_N.shape == SPEECH_N.shape
    assert heard_N.dtype == np.float32
    assert np.square(heard_N).sum() == pytest.approx(np.square(SPEECH_N).sum(), rel=1e-5)
    at_place = np.correlate(heard_N, SPEECH_N, mode="full")
    assert int(np.abs(at_place).argmax()) == len(SPEECH_N) - 1
    np.testing.assert_allclose(heard_N, convolve(SPEECH_N, response(0)), atol=1e-6)


def test_it_is_a_convolution() -> None:
    echo = np.array([1.0, 0.0, 0.5], np.float32)
    full = np.convolve(SPEECH_N, echo)[: len(SPEECH_N)]
    scale = np.sqrt(np.square(SPEECH_N).sum() / np.square(full).sum())
    np.testing.assert_allclose(convolve(SPEECH_N, echo), scale * full, atol=1e-6)


def test_nothing_to_hear() -> None:
    silence_N = np.zeros(100, np.float32)
    assert not convolve(silence_N, response(3)).any()
    np.testing.assert_array_equal(convolve(SPEECH_N, silence_N), SPEECH_N)


def write_part(folder: Path, part: str, responses: list[NDArray[np.float32]], rate_hz: int) -> None:
    """Responses, each with another microphone that hears the opposite, loudly."""
    utterances = []
    for number, samples in enumerate(responses):
        path = folder / f"{part}-{number}.wav"
        soundfile.write(path, np.stack([samples, -samples], axis=1), rate_hz)
        duration_s = len(samples) / rate_hz
        utterances.append(CheckedUtterance(path.stem, path, 0.0, duration_s, rate_hz, 2, "", None))
    write_manifest(utterances, folder / f"{part}.jsonl.gz")


def test_every_part_is_drawn_as_often_as_another(tmp_path: Path) -> None:
    write_part(tmp_path, "many", [response(3)] * 20, RATE_HZ)
    write_part(tmp_path, "one", [np.array([0.0, 0.9], np.float32)], RATE_HZ)
    reverb = Reverb(folder=str(tmp_path), parts=["many", "one"], probability=1.0)
    heard = [reverb(SPEECH_N, RATE_HZ, random.Random(seed)) for seed in range(100)]
    dry = sum(np.allclose(one, SPEECH_N, atol=1e-4) for one in heard)
    assert 30 < dry < 70


def test_the_first_microphone_at_the_rate_of_the_speech(tmp_path: Path) -> None:
    write_part(tmp_path, "real", [response(0)], 8_000)
    reverb = Reverb(folder=str(tmp_path), parts=["real"], probability=1.0)
    heard_N = reverb(SPEECH_N, RATE_HZ, random.Random(0))
    assert np.square(heard_N).sum() == pytest.approx(np.square(SPEECH_N).sum(), rel=1e-5)
    assert not np.allclose(heard_N, SPEECH_N, atol=1e-3)


def test_off(tmp_path: Path) -> None:
    write_part(tmp_path, "real", [response(0)], RATE_HZ)
    never = Reverb(folder=str(tmp_path), parts=["real"], probability=0.0)
    for reverb in (Reverb(folder=None, parts=["real"], probability=1.0), never):
        assert reverb(SPEECH_N, RATE_HZ, random.Random(0)) is SPEECH_N
