"""The pieces of long audio that lie between its pauses.

All positions are in encoder frames, so pieces begin on the grid of the encoder's output.

Shape legend: T frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_PAUSE_S = 0.3
"""Every pause of at least this length ends a piece."""
SHORT_PAUSE_S = 0.12
"""A pause of at least this length may end a piece that would be longer than a chunk."""
PAD_S = 0.2
"""Silence kept before and after the speech of a piece; the rest is skipped."""


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
