"""Encoder latency and cost of several schedules, measured side by side in one process.

Every schedule is timed in alternation with its own dimensions without reuse, twice: with the fused
attention kernel, and explicit, building the attention map as a reuse leader must. A schedule that
only beats the explicit one beats a slow program; the table shows both. The ceilings of the machine
and encoders of other libraries can join the alternation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from asr.encoder.graphed import LONGEST_FRAMES, GraphedEncoder, check_graphs
from asr.encoder.parts import ENCODER_PARTS
from asr.encoder.stack import Encoder
from asr.metrics.breakdown import Call, time_by_part
from asr.metrics.cost import count_parameters, multiply_adds_by_part
from asr.metrics.latency import LatencySpec, Timing, measure
from asr.metrics.memory import peak_memory_mib
from asr.metrics.roofline import (
    Ceilings,
    Probe,
    Probing,
    RooflineSpec,
    Work,
    ceilings,
    probes,
    work_by_part,
)
from asr.model.build import build_encoder, build_frontend
from asr.report.peers.encoders import peer_encoders, peer_key
from asr.report.peers.peer import Peer
from asr.report.record import LatencyPoint, RooflinePoint, ScheduledLayer, length_key

Config = Mapping[str, Any]
Point = TypeVar("Point", bound=LatencyPoint)

_PART_ROUNDS = 3

BASELINES: dict[str, dict[str, Any]] = {
    "fused": {"_target_": "asr.reuse.none.NoReuse", "fused": True},
    "explicit": {"_target_": "asr.reuse.none.NoReuse", "fused": False},
}


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

    Weights are random: latency does not depend on them. ``roofline`` says how to find the ceilings
    to judge them by; ``against`` names encoders of `asr.report.peers.choice` to time beside them,
    at the dimensions of each. ``report`` receives a line per point.
    """
    if spec.cuda_graphs:
        check_graphs(device, "metrics.latency.cuda_graphs=true")
    encoders = distinct_encoders(configs, device, spec.dtype)
    peers = peer_encoders(configs, against, device, spec.dtype)
    probed: dict[str, Probe] = {}
    if roofline:
        dtype = getattr(torch, spec.dtype)
        probed = probes(roofline, device=device, dtype=dtype, num_threads=spec.num_threads)
    points: dict[str, list[LatencyPoint]] = {name: [] for name in configs}
    macs: dict[str, dict[str, dict[str, int]]] = {name: {} for name in configs}
    breakdown: dict[str, dict[str, dict[str, float]]] = {name: {} for name in configs}
    work: dict[str, dict[str, dict[str, Work]]] = {name: {} for name in configs}
    tops: dict[str, Ceilings] = {}
    for length_s in spec.lengths_s:
        for name, config in configs.items():
            macs[name][length_key(length_s)] = macs_by_part(config, length_s)
        for batch_size in spec.batch_sizes:
            beside = f" and {len(peers)} of other libraries" if peers else ""
            report(f"timing {len(encoders)} encoders{beside} at {length_s:g} s, batch {batch_size}")
            forwards = {
                key: forward_pass(encoder, length_s, batch_size, frame_shift_ms(config), device)
                for key, (encoder, config) in (encoders | peers).items()
            }
            timed = (
                forwards | replayed_passes(encoders, length_s, batch_size, device, report)
                if spec.cuda_graphs
                else forwards
            )
            timings = measure(
                timed | {name: probe.run for name, probe in probed.items()},
                repeats=spec.repeats,
                warmup=spec.warmup,
                device=device,
                num_threads=spec.num_threads,
                max_point_s=spec.max_point_s,
            )
            memory = {
                key: peak_memory_mib(call, device, warmup=0) for key, call in forwards.items()
            }
            for name, config in configs.items():
                point = alternating_point(
                    LatencyPoint,
                    config,
                    timings,
                    memory,
                    length_s=length_s,
                    batch_size=batch_size,
                    against=against,
                )
                if probed:
                    num_macs = batch_size * sum(macs[name][length_key(length_s)].values())
                    timing = timings[encoder_key(config)]
                    judged = RooflinePoint.from_timings(num_macs, timing, probed, timings)
                    point = replace(point, roofline=judged)
                points[name].append(point)
        report(f"timing the parts of {len(configs)} encoders at {length_s:g} s")
        calls = part_calls(configs, encoders, length_s, spec, device)
        parts = time_encoder_parts(calls, probed, spec, device)
        if probed:
            times_ms = {name: sum(parts[name].values()) for name in probed}
            tops[length_key(length_s)] = ceilings(probed, times_ms)
        for name, config in configs.items():
            key = encoder_key(config)
            breakdown[name][length_key(length_s)] = parts[key]
            if probed:
                work[name][length_key(length_s)] = work_by_part(calls[key], ENCODER_PARTS)
    return {
        name: EncoderCost(
            schedule=scheduled_layers(encoders[encoder_key(config)][0]),
            parameters=count_parameters(encoders[encoder_key(config)][0]),
            macs=macs[name],
            latency=tuple(points[name]),
            breakdown=breakdown[name],
            work=work[name],
            ceilings=tops,
        )
        for name, config in configs.items()
    }


def distinct_encoders(
    configs: Mapping[str, Config], device: torch.device | str, dtype: str = "float32"
) -> dict[str, tuple[Encoder, Config]]:
    """Each different encoder once, with its two baselines, by `encoder_key`."""
    encoders: dict[str, tuple[Encoder, Config]] = {}
    for config in configs.values():
        for variant in (config, *(with_reuse(config, reuse) for reuse in BASELINES.values())):
            key = encoder_key(variant)
            if key not in encoders:
                encoder = build_encoder(variant, build_frontend(variant).num_mel_bins)
                encoders[key] = (encoder.to(device, getattr(torch, dtype)).eval(), variant)
    return encoders


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


def part_calls(
    configs: Mapping[str, Config],
    encoders: Mapping[str, tuple[Encoder, Config]],
    length_s: float,
    spec: LatencySpec,
    device: torch.device | str,
) -> dict[str, Call]:
    """Each run's encoder on the smallest batch, by `encoder_key`; baselines are left out."""
    calls = {}
    for key in dict.fromkeys(map(encoder_key, configs.values())):
        encoder, config = encoders[key]
        batch_size, shift_ms = min(spec.batch_sizes), frame_shift_ms(config)
        args = random_features(encoder.num_mel_bins, length_s, batch_size, shift_ms, device)
        calls[key] = Call(encoder, args)
    return calls


def time_encoder_parts(
    calls: Mapping[str, Call],
    probed: Mapping[str, Probe],
    spec: LatencySpec,
    device: torch.device | str,
) -> dict[str, dict[str, float]]:
    """Milliseconds by part of each call, probes among them. The encoders must have run before."""
    return time_by_part(
        {**calls, **{name: Call(Probing(probe), ()) for name, probe in probed.items()}},
        ENCODER_PARTS,
        repeats=min(_PART_ROUNDS, spec.repeats),
        device=device,
        num_threads=spec.num_threads,
        max_point_s=spec.max_point_s,
    )


def forward_pass(
    encoder: Encoder | Peer,
    length_s: float,
    batch_size: int,
    shift_ms: float,
    device: torch.device | str,
) -> Callable[[], object]:
    """A call of the encoder on random features of ``length_s`` seconds."""
    features_BTF, lengths_B = random_features(
        encoder.num_mel_bins, length_s, batch_size, shift_ms, device
    )
    return partial(torch.inference_mode()(encoder.__call__), features_BTF, lengths_B)


def replayed_passes(
    encoders: Mapping[str, tuple[Encoder, Config]],
    length_s: float,
    batch_size: int,
    device: torch.device | str,
    report: Callable[[str], None],
) -> dict[str, Callable[[], object]]:
    """The same calls as CUDA graphs, recorded here unless too long; ``report`` is told how long."""
    passes: dict[str, Callable[[], object]] = {}
    record_s = 0.0
    for key, (encoder, config) in encoders.items():
        graphs = GraphedEncoder(encoder)
        features_BTF, lengths_B = random_features(
            encoder.num_mel_bins, length_s, batch_size, frame_shift_ms(config), device
        )
        if features_BTF.shape[1] <= LONGEST_FRAMES:
            graphs.record(features_BTF)
        record_s += graphs.record_s
        passes[key] = partial(torch.inference_mode()(graphs.__call__), features_BTF, lengths_B)
    report(f"recorded CUDA graphs of {len(passes)} encoders in {record_s:.1f} s")
    return passes


def random_features(
    num_mel_bins: int,
    length_s: float,
    batch_size: int,
    shift_ms: float,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """Normal features (B, T, F) without padding, the same on every call, and their lengths."""
    num_frames = max(1, round(length_s * 1000 / shift_ms))
    generator = torch.Generator().manual_seed(0)
    features_BTF = torch.randn(batch_size, num_frames, num_mel_bins, generator=generator)
    return features_BTF.to(device), torch.full((batch_size,), num_frames, device=device)


def macs_by_part(config: Config, length_s: float) -> dict[str, int]:
    """Multiply-adds of the encoder for one utterance; counted without computing anything."""
    frontend = build_frontend(config)
    with torch.device("meta"):
        encoder = build_encoder(config, frontend.num_mel_bins)
    features_BTF, lengths_B = random_features(
        frontend.num_mel_bins, length_s, 1, frontend.frame_shift_ms, "cpu"
    )
    return multiply_adds_by_part(encoder, features_BTF.to("meta"), lengths_B, depth=2)


def scheduled_layers(encoder: Encoder) -> tuple[ScheduledLayer, ...]:
    """The encoder's schedule as the run record stores it."""
    return tuple(ScheduledLayer(**row._asdict()) for row in encoder.schedule_rows())


def with_reuse(config: Config, reuse: Config) -> dict[str, Any]:
    """The same encoder under another reuse method."""
    return {**config, "reuse": reuse}


def encoder_key(config: Config) -> str:
    """Equal for configs of equal encoders."""
    return json.dumps([config["encoder"], config["reuse"], config["features"]], sort_keys=True)


def frame_shift_ms(config: Config) -> float:
    """Milliseconds from one feature frame to the next."""
    return build_frontend(config).frame_shift_ms
