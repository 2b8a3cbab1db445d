"""Encoder latency over CPU threads, batch sizes and dtypes.

Every schedule is timed in alternation with its baselines, as in `asr.measure.latency`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

import torch

from asr.measure.alternation import measure_points
from asr.measure.encoders import distinct_encoders, forward_passes
from asr.measure.peers.peer import Config
from asr.profiling.scaling import ScalingSpec
from asr.report.points import ScalingPoint


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
            found, _ = measure_points(
                ScalingPoint,
                configs,
                forward_passes(encoders, spec.length_s, batch_size, device),
                spec,
                length_s=spec.length_s,
                batch_size=batch_size,
                device=device,
                num_threads=num_threads,
            )
            for name, point in found.items():
                points[name].append(replace(point, num_threads=num_threads, dtype=dtype))
    return {name: tuple(of_run) for name, of_run in points.items()}
