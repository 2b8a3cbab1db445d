"""Timing runs, their baselines and other libraries in alternation, as points of their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import torch

from asr.measure.encoders import BASELINES, encoder_key, with_reuse
from asr.measure.peers.peer import Config, peer_key
from asr.profiling.latency import Timing, time_alternating, undisturbed
from asr.profiling.memory import peak_memory_mib
from asr.report.points import LatencyPoint

Calls = Mapping[str, Callable[[], object]]
"""The calls to time, by `encoder_key` and `peer_key`."""

Point = TypeVar("Point", bound=LatencyPoint)


class RoundsSpec(Protocol):
    """The numbers of rounds to time: fields that every spec of a timing has."""

    @property
    def repeats(self) -> int:
        """Number of timed rounds."""

    @property
    def warmup(self) -> int:
        """Number of untimed rounds before them."""

    @property
    def max_point_s(self) -> float | None:
        """Seconds after which no further round begins."""


def measure_points(
    kind: type[Point],
    configs: Mapping[str, Config],
    calls: Calls,
    spec: RoundsSpec,
    *,
    length_s: float,
    batch_size: int,
    device: torch.device | str,
    num_threads: int | None,
    against: Sequence[str] = (),
    also_timed: Calls | None = None,
) -> tuple[dict[str, Point], dict[str, Timing]]:
    """Time all calls in alternation, then measure the memory of each; return points for every run.

    ``calls`` holds the encoder of every config, its baselines and the peers in ``against``.
    ``also_timed`` are timed in the same rounds. One with the key of a call is timed in place of the
    call, and memory is still that of the call. Returns the points by run and all timings.
    """
    timings = time_alternating(
        {**calls, **(also_timed or {})},
        repeats=spec.repeats,
        warmup=spec.warmup,
        device=device,
        num_threads=num_threads,
        max_point_s=spec.max_point_s,
    )
    with undisturbed(num_threads):
        memory = {key: peak_memory_mib(call, device, warmup=0) for key, call in calls.items()}
    points = {}
    for name, config in configs.items():
        peers = {peer: peer_key(peer, config) for peer in against}
        points[name] = kind.from_timings(
            timings[encoder_key(config)],
            length_s=length_s,
            batch_size=batch_size,
            baselines={
                baseline: timings[encoder_key(with_reuse(config, reuse))]
                for baseline, reuse in BASELINES.items()
            },
            peers={peer: timings[key] for peer, key in peers.items()},
            peak_memory_mib=memory[encoder_key(config)],
            peer_memory_mib={peer: memory[key] for peer, key in peers.items()},
        )
    return points, timings
