"""Speech found by silero's network: the package's own probabilities, on frames of any length."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.decode.chunking import Chunking
from asr.decode.vad import silero_speech, speech_detector
from asr.errors import InputError

RATE_HZ = 16_000
needs_silero = pytest.mark.skipif(
    find_spec("silero_vad") is None or find_spec("onnxruntime") is None,
    reason="needs silero-vad: pip install 'encore-asr[vad]'",
)


VOWELS_HZ = np.array([(700, 1200, 2500), (300, 2200, 3000), (400, 800, 2400), (500, 1800, 2600)])
SYLLABLE_S = 0.22


def voice(duration_s: float, rate_hz: int) -> NDArray[np.float64]:
    """Syllables: harmonics of a moving pitch, in the resonances of one vowel after the other."""
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    pitch_hz = 120 + 25 * np.sin(7 * times_s) + 10 * np.sin(17 * times_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    resonances_hz = VOWELS_HZ[(times_s / SYLLABLE_S).astype(int) % len(VOWELS_HZ)]
    sound = np.zeros(len(times_s))
    for one in range(1, 26):
        distances = (one * pitch_hz[:, None] - resonances_hz) / 90
        sound += (1 / (1 + distances**2)).sum(axis=1) * np.sin(one * phase)
    envelope = np.clip(0.55 - 0.6 * np.cos(2 * np.pi * times_s / SYLLABLE_S), 0, None)
    voiced: NDArray[np.float64] = 0.1 * sound * envelope
    return voiced


def recording(rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """1.5 s of noise, 3 s of a voice, 4.03 s of noise, 2 s of the voice."""
    rng = np.random.default_rng(0)
    parts = [np.zeros(round(1.5 * rate_hz)), voice(3, rate_hz)]
    parts += [np.zeros(round(4.03 * rate_hz)), voice(2, rate_hz)]
    audio = np.concatenate(parts)
    noisy: NDArray[np.float32] = (audio + 1e-3 * rng.normal(size=len(audio))).astype(np.float32)
    return noisy


def windows(samples: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    return (samples[first : first + size] for first in range(0, len(samples), size))


@needs_silero
@pytest.mark.parametrize("size", [100, 512, 5000, 80_000])
def test_probabilities_are_those_of_the_package(size: int) -> None:
    """Its own model, window by window; that the calls have other borders changes nothing."""
    import torch
    from silero_vad import load_silero_vad

    from asr.interop.onnx.silero import silero_vad

    audio = recording()[: 5 * RATE_HZ + 77]
    theirs = load_silero_vad(onnx=True).audio_forward(torch.from_numpy(audio), RATE_HZ).numpy()[0]
    ours = np.concatenate(list(silero_vad().probabilities(windows(audio, size))))
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-5
    assert ours.max() > 0.5 > ours.min(), "else nothing is tested"


@needs_silero
@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050])
@pytest.mark.parametrize("frame_s", [0.04, 0.08])
def test_frames_with_speech(rate_hz: int, frame_s: float) -> None:
    """Within 0.1 s of what was spoken; a mask for each window, whatever the borders."""
    audio = recording(rate_hz)
    frame = round(frame_s * rate_hz)
    masks = list(silero_speech(windows(audio, 25 * frame), frame, sample_rate_hz=rate_hz))
    assert [len(one) for one in masks[:-1]] == [25] * (len(masks) - 1)
    found = np.concatenate(masks)
    assert len(found) == -(-len(audio) // frame)
    (whole,) = silero_speech([audio], frame, sample_rate_hz=rate_hz)
    assert np.array_equal(found, whole)
    changes_s = np.flatnonzero(found[1:] != found[:-1]) * frame / rate_hz
    assert changes_s == pytest.approx([1.5, 4.5, 8.53], abs=0.2)
    assert not found[0]


@needs_silero
def test_speech_goes_on_down_to_the_lower_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the package: it begins at 0.5, goes on above 0.35, and does not begin again there."""

    class Given:
        def probabilities(self, blocks: object) -> Iterator[NDArray[np.float32]]:
            list(blocks)  # type: ignore[call-overload]
            yield np.array([0.4, 0.6, 0.4], np.float32)
            yield np.array([], np.float32)
            yield np.array([0.36, 0.3, 0.4, 0.5], np.float32)

    monkeypatch.setattr("asr.interop.onnx.silero.silero_vad", Given)
    audio = np.zeros(7 * 512, np.float32)
    (found,) = silero_speech([audio], 512, sample_rate_hz=RATE_HZ)
    assert found.tolist() == [False, True, True, True, False, False, True]


@needs_silero
def test_pieces_are_cut_where_it_is_quiet() -> None:
    cut = Chunking(
        chunk_s=4.0,
        overlap_s=1.0,
        window_samples=400,
        shift_samples=160,
        subsampling_factor=4,
        sample_rate_hz=RATE_HZ,
        vad=speech_detector("silero", RATE_HZ),
    )
    audio = recording()
    spans_s = [
        (one.start * 0.04, one.start * 0.04 + len(one.samples) / RATE_HZ)
        for one in cut(windows(audio, 1000))
    ]
    assert all(before[1] < after[0] for before, after in pairwise(spans_s))
    (first, second) = spans_s
    assert first == pytest.approx((1.3, 4.7), abs=0.25)
    assert second == pytest.approx((8.33, 10.53), abs=0.25)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.errors.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"vad=silero needs silero_vad, onnxruntime.*asr\[vad\]'"):
        speech_detector("silero", RATE_HZ)


@needs_silero
def test_an_older_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from asr.interop.onnx import silero

    monkeypatch.setattr(silero, "_FILE", silero._FILE.with_name("other.onnx"))
    with pytest.raises(InputError, match=r"no other.onnx; needed is 6\.2\.2 or newer"):
        silero.silero_vad.__wrapped__()
