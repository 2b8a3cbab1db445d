"""Encoder latency and cost of several schedules, timed in alternation in one process.

Every schedule is timed in alternation with its own dimensions without reuse, twice: with the fused
attention kernel, and explicit, building the attention map as a reuse leader must. A schedule that
only beats the explicit one beats a slow program; the table shows both. The ceilings of the machine
and encoders of other libraries can join the alternation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from asr.encoder.graphed import check_graphs
from asr.encoder.parts import ENCODER_PARTS
from asr.encoder.stack import Encoder
from asr.measure.encoders import (
    Config,
    alternating_point,
    distinct_encoders,
    encoder_key,
    forward_pass,
    frame_shift_ms,
    macs_by_part,
    random_features,
    replayed_passes,
    scheduled_layers,
)
from asr.measure.peers.peer import Peer, peer_encoders
from asr.profiling.breakdown import Call, time_by_part
from asr.profiling.cost import count_parameters
from asr.profiling.latency import LatencySpec, measure
from asr.profiling.memory import peak_memory_mib
from asr.profiling.roofline import (
    Ceilings,
    Probe,
    Probing,
    RooflineSpec,
    Work,
    ceilings,
    probes,
    work_by_part,
)
from asr.report.record import LatencyPoint, RooflinePoint, ScheduledLayer, length_key

_PART_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCost:
    """What one encoder costs; fields as in the run record."""

    schedule: tuple[ScheduledLayer, ...]
    parameters: dict[str, int]
    macs: dict[str, dict[str, int]]
    latency: tuple[LatencyPoint, ...]
    breakdown: dict[str, dict[str, float]]
    work: dict[str, dict[str, Work]]
    ceilings: dict[str, Ceilings]


def measure_encoders(
    configs: Mapping[str, Config],
    spec: LatencySpec,
    *,
    roofline: RooflineSpec | None = None,
    against: Sequence[str] = (),
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, EncoderCost]:
    """Time the encoders of run configs (groups ``features``, ``encoder``, ``reuse``) together.

    ``roofline`` says how to find the ceilings to judge them by; ``against`` names encoders of
    `asr.measure.peers.peer` to time beside them, at the dimensions of each. ``report`` receives a
    line per point.
    """
    if spec.cuda_graphs:
        check_graphs(device, "metrics.latency.cuda_graphs=true")
    bench = _Bench(
        configs=configs,
        spec=spec,
        against=against,
        device=device,
        report=report,
        encoders=distinct_encoders(configs, device, spec.dtype),
        peers=peer_encoders(configs, against, device, spec.dtype),
        probed=probes(
            roofline,
            device=device,
            dtype=getattr(torch, spec.dtype),
            num_threads=spec.num_threads,
        )
        if roofline
        else {},
    )
    points: dict[str, list[LatencyPoint]] = {name: [] for name in configs}
    times_ms: dict[str, dict[str, dict[str, float]]] = {}
    work: dict[str, dict[str, dict[str, Work]]] = {}
    tops: dict[str, Ceilings] = {}
    for length_s in spec.lengths_s:
        length = length_key(length_s)
        work[length] = bench.work(length_s)
        for batch_size in spec.batch_sizes:
            for name, point in bench.points(length_s, batch_size, work[length]).items():
                points[name].append(point)
        times_ms[length] = bench.times_by_part(length_s)
        if bench.probed:
            tops[length] = ceilings(
                bench.probed, {name: sum(times_ms[length][name].values()) for name in bench.probed}
            )
    costs = {}
    for name, config in configs.items():
        key = encoder_key(config)
        encoder, _ = bench.encoders[key]
        costs[name] = EncoderCost(
            schedule=scheduled_layers(encoder),
            parameters=count_parameters(encoder),
            macs={length_key(one): macs_by_part(config, one) for one in spec.lengths_s},
            latency=tuple(points[name]),
            breakdown={length: found[key] for length, found in times_ms.items()},
            work={length: found[key] for length, found in work.items() if found},
            ceilings=tops,
        )
    return costs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """Encoders by `encoder_key`, those of other libraries by `peer_key`, probes by name."""

    configs: Mapping[str, Config]
    spec: LatencySpec
    against: Sequence[str]
    device: torch.device | str
    report: Callable[[str], None]
    encoders: dict[str, tuple[Encoder, Config]]
    peers: dict[str, tuple[Peer, Config]]
    probed: dict[str, Probe]

    def work(self, length_s: float) -> dict[str, dict[str, Work]]:
        """What each run's encoder does part by part in a call that is not its first.

        With the smallest batch; empty where nothing is probed.
        """
        if not self.probed:
            return {}
        calls = self._calls(length_s)
        with torch.inference_mode():
            for call in calls.values():
                call.module(*call.args)
        return {key: work_by_part(call, ENCODER_PARTS) for key, call in calls.items()}

    def points(
        self, length_s: float, batch_size: int, work: Mapping[str, Mapping[str, Work]]
    ) -> dict[str, LatencyPoint]:
        """The point of every run, timed in alternation; judged by its `work` where probed."""
        beside = f" and {len(self.peers)} of other libraries" if self.peers else ""
        self.report(
            f"timing {len(self.encoders)} encoders{beside} at {length_s:g} s, batch {batch_size}"
        )
        calls = {
            key: forward_pass(encoder, length_s, batch_size, frame_shift_ms(config), self.device)
            for key, (encoder, config) in (self.encoders | self.peers).items()
        }
        timed = calls | {name: probe.run for name, probe in self.probed.items()}
        if self.spec.cuda_graphs:
            timed |= replayed_passes(self.encoders, length_s, batch_size, self.device, self.report)
        timings = measure(
            timed,
            repeats=self.spec.repeats,
            warmup=self.spec.warmup,
            device=self.device,
            num_threads=self.spec.num_threads,
            max_point_s=self.spec.max_point_s,
        )
        memory = {key: peak_memory_mib(call, self.device, warmup=0) for key, call in calls.items()}
        points = {}
        for name, config in self.configs.items():
            point = alternating_point(
                LatencyPoint,
                config,
                timings,
                memory,
                length_s=length_s,
                batch_size=batch_size,
                against=self.against,
            )
            if self.probed:
                key = encoder_key(config)
                num_macs = sum(part.macs for part in work[key].values())
                num_macs = num_macs // min(self.spec.batch_sizes) * batch_size
                judged = RooflinePoint.from_timings(num_macs, timings[key], self.probed, timings)
                point = replace(point, roofline=judged)
            points[name] = point
        return points

    def times_by_part(self, length_s: float) -> dict[str, dict[str, float]]:
        """Milliseconds by part of each run's encoder with the smallest batch, and of the probes.

        Baselines are left out. The encoders must have run before.
        """
        self.report(f"timing the parts of {len(self.configs)} encoders at {length_s:g} s")
        probing = {name: Call(Probing(probe), ()) for name, probe in self.probed.items()}
        return time_by_part(
            self._calls(length_s) | probing,
            ENCODER_PARTS,
            repeats=min(_PART_ROUNDS, self.spec.repeats),
            device=self.device,
            num_threads=self.spec.num_threads,
            max_point_s=self.spec.max_point_s,
        )

    def _calls(self, length_s: float) -> dict[str, Call]:
        """Each run's encoder on the smallest batch, by `encoder_key`."""
        calls = {}
        for key in dict.fromkeys(map(encoder_key, self.configs.values())):
            encoder, config = self.encoders[key]
            batch_size, shift_ms = min(self.spec.batch_sizes), frame_shift_ms(config)
            features = random_features(
                encoder.num_mel_bins, length_s, batch_size, shift_ms, self.device
            )
            calls[key] = Call(encoder, features)
        return calls
