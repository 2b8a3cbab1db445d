"""The timer: runs several functions in alternation; reports median and 90th percentile.

Functions to be compared are timed in alternation in one process (A B A B ...), because clock speed,
caches and other processes drift more between two processes than most changes matter. A speed-up is
the ratio of the two medians, so that it equals the ratio of the times in a table. Its interval
resamples rounds, with both timings of a round together.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from asr.errors import InputError
from asr.metrics.bootstrap import expanded_level
from asr.ranges import (
    AudioLength,
    BatchSize,
    Patience,
    Rounds,
    Threads,
    Warmup,
    check_value,
    in_ranges,
)
from asr.types import DTYPES

_FEWEST_ROUNDS = 3  # for a median
_NUM_RESAMPLES = 2000
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall-clock times of one callable in milliseconds; ``samples_ms`` holds one per round."""

    median_ms: float
    p90_ms: float
    samples_ms: tuple[float, ...]

    @classmethod
    def from_samples(cls, samples_ms: Sequence[float]) -> Timing:
        """Compute median and 90th percentile of at least one sample."""
        median_ms, p90_ms = np.quantile(samples_ms, [0.5, 0.9])
        return cls(float(median_ms), float(p90_ms), tuple(samples_ms))


@in_ranges("metrics.latency")
@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySpec:
    """Settings of a latency measurement: every length with every batch size.

    ``lengths_s`` are seconds of audio. Each point gets ``warmup`` untimed and ``repeats`` timed
    rounds on ``num_threads`` CPU threads (None: as many as torch already uses); fewer if they would
    take more than ``max_point_s`` seconds, see :func:`time_alternating`. ``dtype`` is that of
    weights and activations. With ``cuda_graphs`` encoders are replayed from recordings of their
    kernels, which are made before timing starts. Raises InputError for a value outside its range.
    """

    lengths_s: Sequence[AudioLength]
    batch_sizes: Sequence[BatchSize] = (1,)
    repeats: Rounds = 20
    warmup: Warmup = 3
    num_threads: Threads | None = None
    max_point_s: Patience | None = None
    dtype: str = "float32"
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths_s", tuple(float(x) for x in self.lengths_s))
        object.__setattr__(self, "batch_sizes", tuple(self.batch_sizes))
        check_filled("metrics.latency.lengths_s", self.lengths_s)
        check_filled("metrics.latency.batch_sizes", self.batch_sizes)
        if self.dtype not in DTYPES:
            raise InputError(f"metrics.latency.dtype={self.dtype}: allowed: {', '.join(DTYPES)}")


def time_alternating(
    callables: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int,
    device: torch.device | str = "cpu",
    num_threads: int | None = None,
    max_point_s: float | None = None,
) -> dict[str, Timing]:
    """Time ``callables`` in alternating rounds, each called once per round in the given order.

    Once the timed rounds have taken ``max_point_s`` seconds, no further one begins, but at least
    three (or ``repeats``, if fewer) are timed; warming up ends after a quarter of that time. A CUDA
    ``device`` is idle when a call begins, and CUDA events time the call until all its work is done.
    Garbage collection is off meanwhile. Gradients are not switched off: wrap a forward pass in
    ``torch.inference_mode()``. ``num_threads`` is torch's CPU thread count during the rounds.
    """
    check_rounds("", repeats=repeats, warmup=warmup, num_threads=None, max_point_s=max_point_s)
    device = torch.device(device)
    samples_ms: dict[str, list[float]] = {name: [] for name in callables}
    with undisturbed(num_threads):
        for _ in rounds(warmup, fewest=1, max_s=max_point_s and max_point_s / 4):
            for function in callables.values():
                function()
        for _ in rounds(repeats, fewest=_FEWEST_ROUNDS, max_s=max_point_s):
            for name, function in callables.items():
                samples_ms[name].append(_time_ms(function, device))
    return {name: Timing.from_samples(samples) for name, samples in samples_ms.items()}


def ratio(a: Timing, b: Timing) -> float:
    """Return how many times as long ``a`` takes as ``b``: the ratio of their medians.

    With a baseline as ``a`` this is the speed-up of ``b``. Both must come from one
    :func:`time_alternating`; raises ValueError if their numbers of rounds differ.
    """
    _check_paired(a, b)
    return a.median_ms / b.median_ms


def ratio_interval(a: Timing, b: Timing, *, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval (low, high) of `ratio` over the choice of rounds; None for too few.

    Bootstrap over rounds with the percentiles of `asr.metrics.bootstrap`: with three or four rounds
    it runs from the smallest to the largest ratio that they can give.
    """
    _check_paired(a, b)
    num_rounds = len(a.samples_ms)
    if num_rounds < _FEWEST_ROUNDS:
        return None
    drawn = np.random.default_rng(0).integers(num_rounds, size=(_NUM_RESAMPLES, num_rounds))
    medians_a, medians_b = (
        np.median(np.array(timing.samples_ms)[drawn], axis=1) for timing in (a, b)
    )
    level = expanded_level(level, num_rounds)
    low, high = np.quantile(medians_a / medians_b, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_paired(a: Timing, b: Timing) -> None:
    if len(a.samples_ms) != len(b.samples_ms):
        raise ValueError(
            f"timings of {len(a.samples_ms)} and {len(b.samples_ms)} rounds cannot be paired"
        )


def clock_ms(device: torch.device) -> float:
    """Return milliseconds of an arbitrary clock, after ``device`` has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter_ns() / 1e6


def _time_ms(function: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        return _cuda_time_ms(function, device)
    start_ms = clock_ms(device)
    function()
    return clock_ms(device) - start_ms


def _cuda_time_ms(function: Callable[[], object], device: torch.device) -> float:
    """Time with events on the current stream; the device's waiting for the program counts."""
    with torch.cuda.device(device):
        start, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        torch.cuda.synchronize()
        start.record()
        function()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))


def rounds(most: int, *, fewest: int, max_s: float | None) -> Iterator[int]:
    """Yield round numbers up to ``most``; after ``max_s`` seconds only up to ``fewest``."""
    stop_ms = clock_ms(_CPU) + (float("inf") if max_s is None else 1000 * max_s)
    for index in range(most):
        if index >= fewest and clock_ms(_CPU) >= stop_ms:
            return
        yield index


def check_rounds(
    where: str,
    *,
    repeats: int,
    warmup: int,
    num_threads: int | None,
    max_point_s: float | None,
) -> None:
    """Raise InputError for invalid settings, naming keys below config ``where``."""
    prefix = where and f"{where}."
    check_value(repeats, Rounds, f"{prefix}repeats")
    check_value(warmup, Warmup, f"{prefix}warmup")
    check_value(num_threads, Threads | None, f"{prefix}num_threads")
    check_value(max_point_s, Patience | None, f"{prefix}max_point_s")


def check_filled(key: str, values: Sequence[object]) -> None:
    """Raise InputError if there is no value."""
    if not values:
        raise InputError(f"{key} is []; one or more values allowed")


@contextmanager
def undisturbed(num_threads: int | None) -> Iterator[None]:
    """Set torch's CPU threads to ``num_threads``, unless None, and stop garbage collection."""
    threads, was_enabled = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(num_threads or threads)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if was_enabled:
            gc.enable()
