"""The project's timer.

What is to be compared is timed in alternation inside one process (A B A B ...), because clock
speed, caches and neighbours drift more between two processes than most changes are worth. Reported
are the median and the 90th percentile; two timings are compared round by round.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from asr.types import InputError


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall-clock times of one callable in milliseconds; ``samples_ms`` holds one per round."""

    median_ms: float
    p90_ms: float
    samples_ms: tuple[float, ...]

    @classmethod
    def from_samples(cls, samples_ms: Sequence[float]) -> Timing:
        """Median and 90th percentile of at least one sample."""
        median_ms, p90_ms = np.quantile(samples_ms, [0.5, 0.9])
        return cls(float(median_ms), float(p90_ms), tuple(samples_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySpec:
    """What to time: every length with every batch size.

    ``lengths_s`` are seconds of audio. Each point gets ``warmup`` untimed and ``repeats`` timed
    rounds on ``num_threads`` CPU threads (None: as many as torch already uses). Raises InputError
    for a value outside its range.
    """

    lengths_s: Sequence[float]
    batch_sizes: Sequence[int] = (1,)
    repeats: int = 20
    warmup: int = 3
    num_threads: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths_s", tuple(float(x) for x in self.lengths_s))
        object.__setattr__(self, "batch_sizes", tuple(self.batch_sizes))
        for key, values in (("lengths_s", self.lengths_s), ("batch_sizes", self.batch_sizes)):
            if not values or min(values) <= 0:
                raise InputError(
                    f"metrics.latency.{key} is {list(values)}; one or more numbers above 0 allowed"
                )
        _check_at_least("metrics.latency.repeats", self.repeats, 1)
        _check_at_least("metrics.latency.warmup", self.warmup, 0)
        if self.num_threads is not None:
            _check_at_least("metrics.latency.num_threads", self.num_threads, 1)


def measure(
    callables: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int,
    device: torch.device | str = "cpu",
    num_threads: int | None = None,
) -> dict[str, Timing]:
    """Time ``callables`` in alternating rounds, each called once per round in the given order.

    A CUDA ``device`` is synchronised before the clock starts and before it stops. The garbage
    collector rests meanwhile. Gradients are the callables' own business: wrap a forward pass in
    ``torch.inference_mode()``. ``num_threads`` is torch's CPU thread count during the rounds.
    """
    _check_at_least("repeats", repeats, 1)
    _check_at_least("warmup", warmup, 0)
    device = torch.device(device)
    samples_ms: dict[str, list[float]] = {name: [] for name in callables}
    with _threads(num_threads), _no_garbage_collection():
        for index in range(warmup + repeats):
            for name, function in callables.items():
                elapsed_ms = _time_ms(function, device)
                if index >= warmup:
                    samples_ms[name].append(elapsed_ms)
    return {name: Timing.from_samples(samples) for name, samples in samples_ms.items()}


def ratio(a: Timing, b: Timing) -> float:
    """How many times as long ``a`` takes as ``b``: the median over rounds of a / b.

    With a baseline as ``a`` this is the speed-up of ``b``. Both must come from one
    :func:`measure`; raises ValueError when their numbers of rounds differ.
    """
    if len(a.samples_ms) != len(b.samples_ms):
        raise ValueError(
            f"timings of {len(a.samples_ms)} and {len(b.samples_ms)} rounds cannot be paired"
        )
    return float(np.median(np.divide(a.samples_ms, b.samples_ms)))


def _time_ms(function: Callable[[], object], device: torch.device) -> float:
    _synchronise(device)
    start_ns = time.perf_counter_ns()
    function()
    _synchronise(device)
    return (time.perf_counter_ns() - start_ns) / 1e6


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _check_at_least(key: str, value: int, lowest: int) -> None:
    if value < lowest:
        raise InputError(f"{key} is {value}; {lowest} or more allowed")


@contextmanager
def _threads(num_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
