"""What sharing a map saves on this machine: the cost of a layer in each role, from three encoders.

Latency is taken as a sum over layers. Timed are the encoder without reuse, with one group of all
layers, and in pairs; a least-squares fit gives the cost of a layer that attends alone and of one
that leads, over one that follows. Memory traffic that a schedule saves beyond that is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from asr.metrics.latency import measure
from asr.model.build import build_encoder, build_frontend
from asr.report.analysis.grouped import PROBS, with_groups
from asr.report.encoders import forward_pass, with_reuse
from asr.reuse.suggest import LayerCosts

WARMUP, REPEATS = 2, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderLatency:
    """``base_ms`` and the cost of each layer in milliseconds, at ``length_s`` of audio."""

    length_s: float
    base_ms: float
    costs: LayerCosts


def measure_layer_costs(
    config: Mapping[str, Any],
    *,
    num_layers: int,
    length_s: float,
    reuse: Mapping[str, Any] = PROBS,
    device: torch.device | str = "cpu",
) -> EncoderLatency:
    """Time the encoder of a config (groups ``features``, ``encoder``) for one utterance.

    ``reuse`` is a config of the method whose roles are timed, whatever its grouping.
    """
    frontend = build_frontend(config)
    calls: dict[str, Callable[[], object]] = {}
    for groups in probed_schedules(num_layers):
        variant = with_reuse(config, with_groups(reuse, groups))
        encoder = build_encoder(variant, frontend.num_mel_bins).to(device).eval()
        encoder.keep_between_calls()
        calls[str(groups)] = forward_pass(encoder, length_s, 1, frontend.frame_shift_ms, device)
    timings = measure(calls, repeats=REPEATS, warmup=WARMUP, device=device)
    return fit_costs(
        {tuple(groups): timings[str(groups)].median_ms for groups in probed_schedules(num_layers)},
        length_s=length_s,
    )


def fit_costs(median_ms: Mapping[tuple[int, ...], float], *, length_s: float) -> EncoderLatency:
    """The costs that explain the latency of each schedule, given by its groups."""
    rows = [[1.0, groups.count(1), sum(size > 1 for size in groups)] for groups in median_ms]
    fitted = np.linalg.lstsq(np.array(rows), np.array(list(median_ms.values())), rcond=None)[0]
    base_ms, alone_ms, lead_ms = map(float, fitted)
    costs = LayerCosts(alone=alone_ms, lead=lead_ms, follow=0.0)
    return EncoderLatency(length_s=length_s, base_ms=base_ms, costs=costs)


def probed_schedules(num_layers: int) -> list[list[int]]:
    """Groups that tell the roles apart."""
    pairs = [2] * (num_layers // 2) + [1] * (num_layers % 2)
    return [[1] * num_layers, [num_layers], pairs]
