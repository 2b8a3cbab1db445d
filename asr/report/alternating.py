"""One point of a run, out of the timings of all that were timed in alternation with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from asr.metrics.latency import Timing
from asr.report.encoders import BASELINES, Config, encoder_key, with_reuse
from asr.report.peers.encoders import peer_key
from asr.report.record import LatencyPoint

Point = TypeVar("Point", bound=LatencyPoint)


def alternating_point(
    kind: type[Point],
    config: Config,
    timings: Mapping[str, Timing],
    memory: Mapping[str, float | None],
    *,
    length_s: float,
    batch_size: int,
    against: Sequence[str] = (),
) -> Point:
    """The point of one run, with its baselines and peers picked from the timings of all."""
    key = encoder_key(config)
    key_of = {name: peer_key(name, config) for name in against}
    return kind.from_timings(
        timings[key],
        length_s=length_s,
        batch_size=batch_size,
        baselines={
            name: timings[encoder_key(with_reuse(config, reuse))]
            for name, reuse in BASELINES.items()
        },
        peers={name: timings[key_of[name]] for name in against},
        peak_memory_mib=memory[key],
        peer_memory_mib={name: memory[key_of[name]] for name in against},
    )
