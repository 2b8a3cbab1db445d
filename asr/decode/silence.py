"""Silence detection by level, so that the model does not hallucinate words in silence.

Shape legend: N samples, T frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SILENCE_DB = -80.0
"""dBFS. The quietest utterances of public corpora reach -37, 16-bit dither -87."""

_FRAME_S = 0.02
_LOUD_FRAMES = 5  # every word is longer; a click, or a step of the DC offset, is shorter
_STEADY_ABOVE_DB = 30.0  # above silence_db; up to this level, audio of steady level is noise
_STEADY_RANGE_DB = 6.0  # digits spoken without pauses range over 9 dB, white noise over 2 dB
_TINY = 1e-20


def is_silent(
    samples_N: NDArray[np.float32], sample_rate_hz: int, *, silence_db: float | None = SILENCE_DB
) -> bool:
    """Return whether the audio is too quiet, or too steady for its level, to hold a word.

    Its level is the one that the loudest tenth of a second of 20 ms frames reaches, in dBFS without
    the DC offset. Below ``silence_db`` the audio is silent. Up to 30 dB above, it is silent if it
    is steady noise: if the quietest tenth of its audible frames is less than 6 dB below the level.
    If ``silence_db`` is None, no audio is silent.
    """
    if silence_db is None:
        return False
    level_db_T = np.sort(_levels(samples_N, round(_FRAME_S * sample_rate_hz)))
    level_db = level_db_T[-min(_LOUD_FRAMES, -(-len(level_db_T) // 4))]
    if level_db < silence_db:
        return True
    audible_T = level_db_T[level_db_T >= silence_db]
    is_steady = level_db - audible_T[len(audible_T) // 10] < _STEADY_RANGE_DB
    return bool(is_steady and level_db < silence_db + _STEADY_ABOVE_DB)


def _levels(samples_N: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """Return levels (T,) in dBFS; audio shorter than ``size`` samples has a single one."""
    size = max(1, min(size, len(samples_N)))
    num_frames = len(samples_N) // size
    if not num_frames:
        return np.array([-np.inf])
    frames = samples_N[: num_frames * size].reshape(num_frames, size)
    decibels: NDArray[np.float64] = 10 * np.log10(frames.var(axis=1, dtype=np.float64) + _TINY)
    return decibels
