"""Long audio in overlapping chunks.

Every chunk sees some seconds of its neighbours; half of each overlap is then dropped, so a frame
is always read with context on both sides. Chunks start on whole encoder frames, which makes the
joined frames one continuous sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples [start, stop) to encode; of its frames, [keep_from, keep_to) are used."""

    start: int
    stop: int
    keep_from: int
    keep_to: int | None


def chunks(
    num_samples: int, *, chunk_frames: int, overlap_frames: int, samples_per_frame: int
) -> Iterator[Chunk]:
    """Cover ``num_samples``; one chunk when the audio is no longer than ``chunk_frames``."""
    assert 0 <= overlap_frames < chunk_frames
    hop = chunk_frames - overlap_frames
    margin = overlap_frames // 2
    start_frame = 0
    while True:
        stop = (start_frame + chunk_frames) * samples_per_frame
        last = stop >= num_samples
        yield Chunk(
            start=start_frame * samples_per_frame,
            stop=min(stop, num_samples),
            keep_from=0 if start_frame == 0 else margin,
            keep_to=None if last else hop + margin,
        )
        if last:
            return
        start_frame += hop
