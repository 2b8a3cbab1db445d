"""Latency over CPU threads, batch sizes and dtypes, schedules side by side in one process.

As `asr.measure.latency` does: every schedule in alternation with its own dimensions without reuse,
fused and explicit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

import torch

from asr.measure.encoders import (
    Config,
    alternating_point,
    distinct_encoders,
    forward_pass,
    frame_shift_ms,
)
from asr.profiling.latency import measure, undisturbed
from asr.profiling.memory import peak_memory_mib
from asr.profiling.scaling import ScalingSpec
from asr.report.record import ScalingPoint


def measure_scaling(
    configs: Mapping[str, Config],
    spec: ScalingSpec,
    *,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, tuple[ScalingPoint, ...]]:
    """Time the encoders of run configs (groups ``features``, ``encoder``, ``reuse``) together.

    ``report`` receives a line per point.
    """
    points: dict[str, list[ScalingPoint]] = {name: [] for name in configs}
    for dtype in spec.dtypes:
        encoders = distinct_encoders(configs, device, dtype)
        for num_threads, batch_size in product(spec.num_threads, spec.batch_sizes):
            report(
                f"timing {len(encoders)} encoders at {batch_size} x {spec.length_s:g} s, "
                f"{num_threads} CPU threads, {dtype}"
            )
            forwards = {
                key: forward_pass(
                    encoder, spec.length_s, batch_size, frame_shift_ms(config), device
                )
                for key, (encoder, config) in encoders.items()
            }
            timings = measure(
                forwards,
                repeats=spec.repeats,
                warmup=spec.warmup,
                device=device,
                num_threads=num_threads,
                max_point_s=spec.max_point_s,
            )
            with undisturbed(num_threads):
                memory = {
                    key: peak_memory_mib(run, device, warmup=0) for key, run in forwards.items()
                }
            for name, config in configs.items():
                point = alternating_point(
                    ScalingPoint,
                    config,
                    timings,
                    memory,
                    length_s=spec.length_s,
                    batch_size=batch_size,
                )
                points[name].append(replace(point, num_threads=num_threads, dtype=dtype))
    return {name: tuple(found) for name, found in points.items()}
