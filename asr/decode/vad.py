"""Voice activity detection: the frames of long audio that hold speech.

Shape legend: N samples, T frames, W windows of silero's network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from asr.audio.resample import resample_blocks
from asr.errors import InputError, check_installed
from asr.types import Waveform

VADS = ("energy", "silero", "none")
"""Names of speech detectors; ``none``: long audio is not cut at pauses."""

SpeechDetector = Callable[[Iterable[NDArray[np.float32]], int], Iterator[NDArray[np.bool_]]]
"""Takes windows of samples (N,), and the samples of a frame; yields a mask for each window.

A mask (T,) says which frames of the window may hold speech. It may come later than its window.
"""

WINDOW_S = 5.0
_WINDOWS_BEFORE = 4  # and one after: a frame's level is compared with half a minute of audio
_FLOOR, _PEAK = 2, 95  # percentiles of the levels: noise, and loud speech
_RANGE_DB = 50.0  # frames more than this below the peak are silence at any noise level
_THRESHOLD = 0.3  # position of the threshold between noise (0) and peak (1)
_LEAST_CONTRAST_DB = 12.0  # with less, noise and speech cannot be separated
_TINY = 1e-20


def energy_speech(
    windows: Iterable[NDArray[np.float32]], frame_samples: int
) -> Iterator[NDArray[np.bool_]]:
    """Find speech by the energy of frames.

    A frame holds speech if its loudest quarter exceeds a threshold between the noise and the peak
    of the surrounding windows. If noise and peak are too close, the last threshold stays. The
    mask of a window comes one window later.
    """
    levels: deque[NDArray[np.float64]] = deque(maxlen=_WINDOWS_BEFORE + 2)
    threshold_db = -np.inf
    for window in windows:
        levels.append(_levels(window, frame_samples))
        if len(levels) > 1:
            threshold_db = _threshold(levels, threshold_db)
            yield levels[-2] > threshold_db
    if levels:
        yield levels[-1] > _threshold(levels, threshold_db)


def _threshold(levels: Iterable[NDArray[np.float64]], before_db: float) -> float:
    """Return the level above which frames hold speech; ``before_db`` if all are about as loud."""
    floor_db, peak_db = np.percentile(np.concatenate(list(levels)), (_FLOOR, _PEAK))
    floor_db = max(floor_db, peak_db - _RANGE_DB)
    if peak_db - floor_db < _LEAST_CONTRAST_DB:
        return before_db
    return float(floor_db + _THRESHOLD * (peak_db - floor_db))


def _levels(samples_N: NDArray[np.float32], frame_samples: int) -> NDArray[np.float64]:
    """Return the level (T,) of each frame's loudest quarter, in dBFS without the DC offset."""
    num_frames = -(-len(samples_N) // frame_samples)
    size = max(1, frame_samples // 4)
    padded = np.pad(samples_N, (0, num_frames * frame_samples - len(samples_N)), mode="edge")
    quarters = padded.reshape(num_frames, frame_samples)[:, : 4 * size]
    quarters = quarters.reshape(num_frames, -1, size)
    loudest_T = quarters.var(axis=2, dtype=np.float64).max(axis=1)
    levels_T: NDArray[np.float64] = 10 * np.log10(loudest_T + _TINY)
    return levels_T


_BEGIN, _END = 0.5, 0.35  # silero's own thresholds for the start and end of speech


def silero_speech(
    windows: Iterable[NDArray[np.float32]], frame_samples: int, *, sample_rate_hz: int
) -> Iterator[NDArray[np.bool_]]:
    """Find speech by silero's network, in audio of ``sample_rate_hz``.

    A frame holds speech if it shares samples with a window of the network that does. Speech begins
    at a probability of 0.5 and ends below 0.35; it may be as short as one window.
    """
    from asr.interop.onnx.silero import SILERO_RATE_HZ, SILERO_WINDOW, silero_vad

    num_frames: deque[int] = deque()  # of the windows that have no mask yet

    def waveforms() -> Iterator[Waveform]:
        for window in windows:
            num_frames.append(-(-len(window) // frame_samples))
            yield Waveform(window, sample_rate_hz)

    def bounds(frames: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first network window of each frame, and the one after its last."""
        size, step = SILERO_WINDOW * sample_rate_hz, frame_samples * SILERO_RATE_HZ
        return frames * step // size, -(-(frames + 1) * step // size)

    resampled = resample_blocks(waveforms(), SILERO_RATE_HZ)
    speaks_W = np.empty(0, dtype=np.bool_)
    speaks = False
    first = frame = 0  # first network window of speaks_W, and the next frame
    probs = silero_vad().probabilities(waveform.samples for waveform in resampled)
    for probs_W in probs:
        found_W = _speech_from(probs_W, speaks)
        speaks = bool(found_W[-1]) if len(found_W) else speaks
        speaks_W = np.concatenate([speaks_W, found_W])
        while num_frames:
            from_T, to_T = bounds(np.arange(frame, frame + num_frames[0]))
            if to_T[-1] > first + len(speaks_W):
                break
            yield _any_between(speaks_W, from_T - first, to_T - first)
            frame += num_frames.popleft()
            speaks_W, first = speaks_W[from_T[-1] - first :], int(from_T[-1])
    while num_frames:
        from_T, to_T = bounds(np.arange(frame, frame + num_frames[0]))
        yield _any_between(speaks_W, from_T - first, to_T - first)
        frame += num_frames.popleft()


def _speech_from(probs_W: NDArray[np.float32], speaks: bool) -> NDArray[np.bool_]:
    """Return which windows hold speech; ``speaks``: whether the window before them does."""
    is_clear_W = (probs_W >= _BEGIN) | (probs_W < _END)
    last_W = np.maximum.accumulate(np.where(is_clear_W, np.arange(1, len(probs_W) + 1), 0))
    decided: NDArray[np.bool_] = np.concatenate([[speaks], probs_W >= _BEGIN])[last_W]
    return decided


def _any_between(
    mask_W: NDArray[np.bool_], from_T: NDArray[np.int64], to_T: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether any of ``mask_W[from:to]`` is True; the last value is repeated at the end."""
    counts = np.concatenate([[0], np.cumsum(mask_W)])
    from_T = np.minimum(from_T, len(mask_W) - 1)
    to_T = np.minimum(to_T, len(mask_W))
    found_T: NDArray[np.bool_] = counts[to_T] > counts[from_T]
    return found_T


def speech_detector(name: str, sample_rate_hz: int) -> SpeechDetector | None:
    """Return the detector ``name`` of `VADS` for audio of this rate; None for ``none``.

    Raises:
        InputError: there is no such detector, or it is not installed.
    """
    if name not in VADS:
        raise InputError(f"vad={name!r}; allowed: {', '.join(VADS)}")
    if name == "none":
        return None
    if name == "energy":
        return energy_speech
    check_installed("vad=silero", ("silero_vad", "onnxruntime"), extra="vad")
    from asr.interop.onnx.silero import silero_vad

    silero_vad()  # raise its errors before any audio is read
    return partial(silero_speech, sample_rate_hz=sample_rate_hz)
