"""Long audio in overlapping chunks.

Every chunk sees some seconds of its neighbours; half of each overlap is then dropped, so a frame
is always read with context on both sides, and every frame is kept exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """Encoder frames [start, stop) to compute, of which [keep_from, keep_to) are used.

    All four count from the start of the audio.
    """

    start: int
    stop: int
    keep_from: int
    keep_to: int


def chunks(num_frames: int, *, chunk_frames: int, overlap_frames: int) -> Iterator[Chunk]:
    """Cover ``num_frames``; one chunk when the audio is no longer than ``chunk_frames``."""
    assert 0 <= overlap_frames < chunk_frames
    margin = overlap_frames // 2
    start = keep_from = 0
    while start + chunk_frames < num_frames:
        stop = start + chunk_frames
        keep_to = stop - (overlap_frames - margin)
        yield Chunk(start, stop, keep_from, keep_to)
        start = stop - overlap_frames
        keep_from = keep_to
    yield Chunk(start, num_frames, keep_from, num_frames)
