"""The settings of `metrics.streaming`: the chunks and numbers of streams to time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.profiling.latency import check_filled
from asr.ranges import (
    BatchSize,
    ChunkFrames,
    ContextFrames,
    Patience,
    Rounds,
    Threads,
    Warmup,
    in_ranges,
)


@in_ranges("metrics.streaming")
@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingSpec:
    """Settings: every chunk length with every number of streams that are encoded together.

    ``chunk_frames``, ``left_frames`` and ``right_frames`` count encoder frames. Rounds are as in
    `asr.profiling.latency.LatencySpec`. Raises InputError for a value outside its range.
    """

    chunk_frames: Sequence[ChunkFrames] = (4, 8, 16, 32)
    num_streams: Sequence[BatchSize] = (1, 16)
    left_frames: ContextFrames = 64
    right_frames: ContextFrames = 0
    num_threads: Threads | None = 1
    repeats: Rounds = 100
    warmup: Warmup = 10
    max_point_s: Patience | None = 30.0

    def __post_init__(self) -> None:
        for key in ("chunk_frames", "num_streams"):
            values = tuple(getattr(self, key))
            object.__setattr__(self, key, values)
            check_filled(f"metrics.streaming.{key}", values)
