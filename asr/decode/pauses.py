"""Pauses of long audio, found by the energy of its frames, and the pieces between them.

All positions are in encoder frames, so pieces begin on the grid of the encoder's output.

Shape legend: N samples, T frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

MIN_PAUSE_S = 0.4
"""Every pause of at least this length ends a piece."""
SHORT_PAUSE_S = 0.12
"""A pause of at least this length may end a piece that would be longer than a chunk."""
PAD_S = 0.2
"""Silence kept before and after the speech of a piece; the rest is skipped."""

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
    """Yield for each window of samples (N,) which of its frames (T,) may hold speech.

    A frame holds speech if its loudest quarter exceeds a threshold between the noise and the peak
    of the surrounding windows. If noise and peak are too close, the last threshold stays. The
    result of a window comes one window later.
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


class PauseCutter:
    """A cutter that ends pieces at pauses, given the frames that hold speech.

    Args:
        max_frames: most frames of a piece.
        overlap_frames: frames shared with the piece before, if there is no pause between.
        frame_shift_s: seconds of a frame.
    """

    def __init__(self, *, max_frames: int, overlap_frames: int, frame_shift_s: float) -> None:
        self.max_frames, self._overlap_frames = max_frames, overlap_frames
        self._min_pause = max(2, round(MIN_PAUSE_S / frame_shift_s))
        self._short_pause = max(2, round(SHORT_PAUSE_S / frame_shift_s))
        self._pad = max(1, round(PAD_S / frame_shift_s))
        self.num_ahead = max_frames + self._min_pause + self._pad
        """Frames that `next_piece` needs, unless the audio ends before."""

    def leading_silence(self, speech_T: NDArray[np.bool_]) -> int:
        """Return the number of frames to skip before the next piece."""
        first = int(speech_T.argmax()) if speech_T.any() else len(speech_T)
        return max(0, first - self._pad)

    def next_piece(self, speech_T: NDArray[np.bool_], *, covered: int) -> tuple[int, int, int]:
        """Return the end of the piece that begins at 0, the next start, and the next ``covered``.

        The first ``covered`` frames overlap the piece before. The end is 0 if there is no speech
        after them.
        """
        voiced = np.flatnonzero(speech_T[covered:]) + covered
        if not len(voiced):
            return 0, covered, 0
        end = min(len(speech_T), self.max_frames)
        quiet_from = voiced + 1
        after = max(len(speech_T), int(quiet_from[-1]) + self._min_pause)
        lengths = np.append(voiced[1:], after) - quiet_from
        fits = quiet_from <= end
        long = np.flatnonzero(fits & (lengths >= self._min_pause))
        short = np.flatnonzero(fits & (lengths >= self._short_pause))
        if len(long):
            chosen = int(long[0])
        elif len(short):
            chosen = int(short[np.argmax(lengths[short])])
        else:
            onward = max(1, end - self._overlap_frames)
            return end, onward, end - onward
        quiet, length = int(quiet_from[chosen]), int(lengths[chosen])
        pad = min(self._pad, (length - 1) // 2)  # skips at least one frame, to separate tokens
        stop = min(quiet + pad, end)
        return stop, max(stop + 1, quiet + length - pad), 0
