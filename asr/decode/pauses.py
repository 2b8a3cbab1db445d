"""Pauses of long audio, by the energy of its frames, and the pieces that lie between them.

Everything counts frames, those of the encoder, so that pieces begin on the grid of its output.

Shape legend: N samples, T frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

MIN_PAUSE_S = 0.4
"""Every pause as long as this ends a piece."""
SHORT_PAUSE_S = 0.12
"""A pause as long as this may end a piece that would be longer than a chunk."""
PAD_S = 0.2
"""Silence that a piece keeps before and behind its speech; what is more is skipped."""

WINDOW_S = 5.0
_WINDOWS_BEFORE = 4  # and one behind: the level of a frame is compared with half a minute
_FLOOR, _PEAK = 2, 95  # percentiles of the levels: noise, and loud speech
_RANGE_DB = 50.0  # below the peak: quieter frames are silence, whatever the noise is
_THRESHOLD = 0.3  # of the way from the noise to the peak
_LEAST_CONTRAST_DB = 12.0  # below, noise and speech cannot be told apart
_TINY = 1e-20


def energy_speech(
    windows: Iterable[NDArray[np.float32]], frame_samples: int
) -> Iterator[NDArray[np.bool_]]:
    """Yield for each window of samples (N,) which of its frames (T,) may hold speech.

    A frame holds speech if its loudest quarter is louder than a threshold between the noise and
    the peak of the windows around it; where these are about as loud, between those before. It
    comes one window late.
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
    """Level above which frames hold speech; ``before_db``, where they are all about as loud."""
    floor_db, peak_db = np.percentile(np.concatenate(list(levels)), (_FLOOR, _PEAK))
    floor_db = max(floor_db, peak_db - _RANGE_DB)
    if peak_db - floor_db < _LEAST_CONTRAST_DB:
        return before_db
    return float(floor_db + _THRESHOLD * (peak_db - floor_db))


def _levels(samples_N: NDArray[np.float32], frame_samples: int) -> NDArray[np.float64]:
    """Level (T,) of the loudest quarter of each frame, in dB of full scale without an offset."""
    num_frames = -(-len(samples_N) // frame_samples)
    size = max(1, frame_samples // 4)
    padded = np.pad(samples_N, (0, num_frames * frame_samples - len(samples_N)), mode="edge")
    quarters = padded.reshape(num_frames, frame_samples)[:, : 4 * size]
    quarters = quarters.reshape(num_frames, -1, size)
    loudest_T = quarters.var(axis=2, dtype=np.float64).max(axis=1)
    levels_T: NDArray[np.float64] = 10 * np.log10(loudest_T + _TINY)
    return levels_T


class PauseCutter:
    """Decides where a piece ends, from the frames that hold speech.

    Args:
        max_frames: of a piece.
        overlap_frames: that a piece shares with the one before it, where there is no pause.
        frame_shift_s: seconds of a frame.
    """

    def __init__(self, *, max_frames: int, overlap_frames: int, frame_shift_s: float) -> None:
        self.max_frames, self._overlap_frames = max_frames, overlap_frames
        self._min_pause = max(2, round(MIN_PAUSE_S / frame_shift_s))
        self._short_pause = max(2, round(SHORT_PAUSE_S / frame_shift_s))
        self._pad = max(1, round(PAD_S / frame_shift_s))
        self.num_ahead = max_frames + self._min_pause + self._pad
        """Frames that have to be known for `next_piece`, unless the audio ends before."""

    def leading_silence(self, speech_T: NDArray[np.bool_]) -> int:
        """How many frames to skip before the next piece."""
        first = int(speech_T.argmax()) if speech_T.any() else len(speech_T)
        return max(0, first - self._pad)

    def next_piece(self, speech_T: NDArray[np.bool_], *, covered: int) -> tuple[int, int, int]:
        """Frame behind the piece that begins at 0, the one to go on from, and the new ``covered``.

        ``covered`` frames at the start are those of the piece before, by an overlap; the last
        number is how many of the frames to go on from this piece has too. All zero if no speech is
        left behind those covered.
        """
        voiced = np.flatnonzero(speech_T[covered:]) + covered
        if not len(voiced):
            return 0, covered, 0
        end = min(len(speech_T), self.max_frames)
        quiet_from = voiced + 1
        behind = max(len(speech_T), int(quiet_from[-1]) + self._min_pause)
        lengths = np.append(voiced[1:], behind) - quiet_from
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
        pad = min(self._pad, (length - 1) // 2)  # leaves a frame out, which keeps tokens apart
        stop = min(quiet + pad, end)
        return stop, max(stop + 1, quiet + length - pad), 0
