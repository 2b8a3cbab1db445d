"""The settings of `metrics.scaling`: the threads, batch sizes and dtypes to time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.errors import InputError
from asr.profiling.latency import check_filled
from asr.ranges import AudioLength, BatchSize, Patience, Rounds, Threads, Warmup, in_ranges
from asr.types import DTYPES


@in_ranges("metrics.scaling")
@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingSpec:
    """Settings: every dtype, number of CPU threads and batch size, at one length.

    ``length_s`` is the duration of an utterance in seconds. Rounds are as in
    `asr.profiling.latency.LatencySpec`. Raises InputError for a value outside its range.
    """

    length_s: AudioLength = 15.0
    num_threads: Sequence[Threads] = (1, 2, 4)
    batch_sizes: Sequence[BatchSize] = (1, 4, 16)
    dtypes: Sequence[str] = ("float32",)
    repeats: Rounds = 5
    warmup: Warmup = 1
    max_point_s: Patience | None = None

    def __post_init__(self) -> None:
        for key in ("num_threads", "batch_sizes"):
            values = tuple(getattr(self, key))
            object.__setattr__(self, key, values)
            check_filled(f"metrics.scaling.{key}", values)
        object.__setattr__(self, "dtypes", tuple(self.dtypes))
        unknown = [dtype for dtype in self.dtypes if dtype not in DTYPES]
        if unknown or not self.dtypes:
            raise InputError(
                f"metrics.scaling.dtypes is {list(self.dtypes)}; one or more of "
                f"{', '.join(DTYPES)} allowed"
            )
