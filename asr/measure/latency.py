"""Encoder latency and cost of several schedules, timed in alternation in one process.

Every schedule is timed in alternation with two baselines, the same encoder without reuse: once with
the fused attention kernel, once explicit, computing the attention map as a reuse leader must. A
schedule that is faster only than the explicit baseline is no gain; the table shows both. Probes of
the machine's ceilings and encoders of other libraries can be timed in the same rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from asr.encoder.graphed import check_graphs
from asr.encoder.parts import ENCODER_PARTS
from asr.encoder.precision import check_dtype
from asr.encoder.stack import Encoder
from asr.errors import InputError
from asr.measure.alternation import measure_points
from asr.measure.encoders import (
    distinct_encoders,
    encoder_key,
    encoder_shape,
    forward_passes,
    frame_shift_ms,
    macs_by_part,
    random_features,
    replayed_passes,
    scheduled_layers,
)
from asr.measure.peers.peer import Config, Peer, build_peer, peer_encoders, peer_size
from asr.model.asr_model import AsrModel
from asr.model.package import ModelPackage
from asr.profiling.breakdown import Call, time_by_part
from asr.profiling.cost import count_parameters
from asr.profiling.latency import LatencySpec
from asr.profiling.roofline import (
    Ceilings,
    Probing,
    RooflineProbe,
    RooflineSpec,
    Work,
    ceilings,
    probes,
    work_by_part,
)
from asr.report.points import LatencyPoint, RooflinePoint
from asr.report.record import ScheduledLayer, length_key

_PART_ROUNDS = 3
AGREEMENT_S = 10.0
LARGEST_DIFFERENCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCost:
    """The cost of one encoder; fields as in the run record."""

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
    model: AsrModel | None = None,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, EncoderCost]:
    """Time the encoders of run configs (groups ``features``, ``encoder``, ``reuse``) together.

    ``roofline`` sets how to measure the ceilings, if given; ``against`` names encoders of
    `asr.measure.peers.peer` to time beside them, with the dimensions of each. If ``model`` is
    given, all get its weights. ``report`` receives a line per point.
    """
    check_timing_device(spec, device)
    if spec.dtype == "int8" and (roofline or against):
        raise InputError(
            "metrics.latency.dtype=int8: neither ceilings nor encoders of other libraries are "
            "timed in 8 bits; leave out --against and metrics.roofline, as by 'metrics=[latency]'"
        )
    encoders = distinct_encoders(configs, device, spec.dtype, model)
    peers = peer_encoders(configs, against, device, spec.dtype, model)
    beside = f" and {len(peers)} of other libraries" if peers else ""
    probed: dict[str, RooflineProbe] = {}
    if roofline:
        dtype = getattr(torch, spec.dtype)
        probed = probes(roofline, device=device, dtype=dtype, num_threads=spec.num_threads)
    everything: dict[str, tuple[Encoder | Peer, Config]] = {**encoders, **peers}
    of_runs = {key: encoders[key] for key in map(encoder_key, configs.values())}
    points: dict[str, list[LatencyPoint]] = {name: [] for name in configs}
    times_ms: dict[str, dict[str, dict[str, float]]] = {}
    work: dict[str, dict[str, dict[str, Work]]] = {}
    ceilings_at: dict[str, Ceilings] = {}
    for length_s in spec.lengths_s:
        length = length_key(length_s)
        if probed:
            work[length] = encoder_work(smallest_calls(of_runs, spec, length_s, device))
        for batch_size in spec.batch_sizes:
            report(f"timing {len(encoders)} encoders{beside} at {length_s:g} s, batch {batch_size}")
            also_timed = {name: probe.run for name, probe in probed.items()}
            if spec.cuda_graphs:
                also_timed |= replayed_passes(encoders, length_s, batch_size, device, report)
            found, timings = measure_points(
                LatencyPoint,
                configs,
                forward_passes(everything, length_s, batch_size, device),
                spec,
                length_s=length_s,
                batch_size=batch_size,
                device=device,
                num_threads=spec.num_threads,
                against=against,
                also_timed=also_timed,
            )
            for name, point in found.items():
                reached = None
                if probed:
                    key = encoder_key(configs[name])
                    macs_of_one = total_macs(work[length][key]) // min(spec.batch_sizes)
                    reached = RooflinePoint.from_timings(
                        macs_of_one * batch_size, timings[key], probed, timings
                    )
                points[name].append(replace(point, roofline=reached))
        report(f"timing the parts of {len(configs)} encoders at {length_s:g} s")
        calls = smallest_calls(of_runs, spec, length_s, device)
        calls |= {name: Call(Probing(probe), ()) for name, probe in probed.items()}
        times_ms[length] = time_by_part(
            calls,
            ENCODER_PARTS,
            repeats=min(_PART_ROUNDS, spec.repeats),
            device=device,
            num_threads=spec.num_threads,
            max_point_s=spec.max_point_s,
        )
        if probed:
            probes_ms = {name: sum(times_ms[length][name].values()) for name in probed}
            ceilings_at[length] = ceilings(probed, probes_ms)
    keys = {name: encoder_key(config) for name, config in configs.items()}
    shapes = {name: encoder_shape(config) for name, config in configs.items()}
    return {
        name: EncoderCost(
            schedule=scheduled_layers(shapes[name]),
            parameters=count_parameters(shapes[name]),
            macs={length_key(one): macs_by_part(configs[name], one) for one in spec.lengths_s},
            latency=tuple(points[name]),
            breakdown={length: by_key[key] for length, by_key in times_ms.items()},
            work={length: by_key[key] for length, by_key in work.items()},
            ceilings=ceilings_at,
        )
        for name, key in keys.items()
    }


def check_timing_device(spec: LatencySpec, device: torch.device | str) -> None:
    """Raise InputError if ``device`` cannot be timed as ``spec`` says."""
    if spec.cuda_graphs:
        check_graphs(device, "metrics.latency.cuda_graphs=true")
    check_dtype(spec.dtype, device, f"metrics.latency.dtype={spec.dtype}")


@torch.inference_mode()
def difference_from_peer(package: ModelPackage, name: str) -> float:
    """Return the difference of another library's encoder from a package's with the same weights.

    The root mean square of the difference of their frames, relative to that of the frames, on
    `AGREEMENT_S` seconds of noise.

    Raises:
        InputError: that encoder cannot take the weights, or does not compute the same.
    """
    encoder, frontend = package.model.encoder, package.model.frontend
    peer = build_peer(name, peer_size(package.config))
    peer.take_weights(package.model, package.config)
    features, lengths = random_features(
        encoder.num_mel_bins, AGREEMENT_S, 1, frontend.frame_shift_ms, "cpu"
    )
    expected, found = (one(features, lengths).frames_BTD.double() for one in (encoder, peer))
    error = float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())
    if not error < LARGEST_DIFFERENCE:
        raise InputError(
            f"--against {name}: with the same weights its frames differ by {error:.1e} of their "
            f"size; {LARGEST_DIFFERENCE:g} at most is rounding, so their times say nothing"
        )
    return error


def smallest_calls(
    encoders: Mapping[str, tuple[Encoder, Config]],
    spec: LatencySpec,
    length_s: float,
    device: torch.device | str,
) -> dict[str, Call]:
    """Return a call of each encoder on the smallest batch, for timing its parts."""
    return {
        key: Call(
            encoder,
            random_features(
                encoder.num_mel_bins,
                length_s,
                min(spec.batch_sizes),
                frame_shift_ms(config),
                device,
            ),
        )
        for key, (encoder, config) in encoders.items()
    }


def total_macs(by_part: Mapping[str, Work]) -> int:
    """Return the multiply-adds of all parts."""
    return sum(work.macs for work in by_part.values())


def encoder_work(calls: Mapping[str, Call]) -> dict[str, dict[str, Work]]:
    """Return the multiply-adds and bytes of each part in a call that is not the first."""
    with torch.inference_mode():
        for call in calls.values():
            call.module(*call.args)
    return {key: work_by_part(call, ENCODER_PARTS) for key, call in calls.items()}
