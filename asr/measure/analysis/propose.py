"""Proposals for a reuse schedule from the similarity of layers and each layer's cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.errors import InputError
from asr.measure.analysis.trial import PROBS, Trial, with_groups
from asr.measure.encoders import forward_pass, with_reuse
from asr.model.build import build_encoder, build_frontend
from asr.profiling.latency import time_alternating
from asr.report.analysis import Groups, Suggested, Tried
from asr.reuse.suggest import NUM_MAPS, LayerCosts, Suggestion, frontier, greedy_groups, priced

WARMUP, REPEATS = 2, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderLatency:
    """``base_ms`` and the cost of each layer in milliseconds, for ``length_s`` of audio."""

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

    ``reuse`` is the config of the method whose roles are timed; its grouping is ignored.
    """
    frontend = build_frontend(config)
    calls: dict[str, Callable[[], object]] = {}
    for groups in probed_schedules(num_layers):
        variant = with_reuse(config, with_groups(reuse, groups))
        encoder = build_encoder(variant, frontend.num_mel_bins).to(device).eval()
        encoder.keep_between_calls()
        calls[str(groups)] = forward_pass(encoder, length_s, 1, frontend.frame_shift_ms, device)
    timings = time_alternating(calls, repeats=REPEATS, warmup=WARMUP, device=device)
    return fit_costs(
        {tuple(groups): timings[str(groups)].median_ms for groups in probed_schedules(num_layers)},
        length_s=length_s,
    )


def fit_costs(median_ms: Mapping[tuple[int, ...], float], *, length_s: float) -> EncoderLatency:
    """Fit costs to the latency of each schedule, given by its groups."""
    rows = [[1.0, groups.count(1), sum(size > 1 for size in groups)] for groups in median_ms]
    fitted = np.linalg.lstsq(np.array(rows), np.array(list(median_ms.values())), rcond=None)[0]
    base_ms, alone_ms, lead_ms = map(float, fitted)
    costs = LayerCosts(alone=alone_ms, lead=lead_ms, follow=0.0)
    return EncoderLatency(length_s=length_s, base_ms=base_ms, costs=costs)


def probed_schedules(num_layers: int) -> list[list[int]]:
    """Return schedules whose latencies determine the cost of each role."""
    pairs = [2] * (num_layers // 2) + [1] * (num_layers % 2)
    return [[1] * num_layers, [num_layers], pairs]


def propose(
    similarity_LL: Tensor,
    *,
    threshold: float,
    latency: EncoderLatency | None = None,
    budget_ms: float | None = None,
) -> Suggested:
    """Return groups by threshold, the frontier of risk against cost, and the proposal.

    A budget must have passed `check_budget`.
    """
    assert budget_ms is None or latency is not None
    costs = _costs(latency)
    greedy = _groups(greedy_groups(similarity_LL, threshold=threshold, costs=costs), latency)
    best = [_groups(one, latency) for one in frontier(1 - similarity_LL, costs)]
    return Suggested(
        threshold=threshold,
        length_s=None if latency is None else latency.length_s,
        budget_ms=budget_ms,
        greedy=greedy,
        best=best,
        proposed=greedy if budget_ms is None else _within(best, budget_ms)[-1],
    )


def propose_tried(
    trial: Trial,
    suggested: Suggested,
    *,
    latency: EncoderLatency | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Suggested, Tried]:
    """Propose a schedule from trials of every pair, and measure both proposals' added loss.

    ``suggested`` is the proposal from similarity, at the same costs and within the same budget.
    """
    loss_LL = trial.losses_of_pairs(report)
    risk_LL = (loss_LL - trial.full_loss).nan_to_num(0.0)
    costs = _costs(latency)
    found = frontier(risk_LL, costs)
    best = [_groups(one, latency) for one in found]
    similar = suggested.proposed
    most = priced(risk_LL, similar.groups if similar.shares else in_pairs(len(risk_LL)), costs)
    limit = _groups(most, latency)
    if suggested.budget_ms is None:
        within = [one for one in found if one.cost <= most.cost + 1e-9]
        proposed = _groups(within[-1], latency)
    else:
        proposed = _within(best, suggested.budget_ms)[-1]
    others = [limit, suggested.greedy, similar, *suggested.best]
    added = _added_losses(trial, [*best, *others], report)
    return (
        replace(
            suggested,
            greedy=added(suggested.greedy),
            best=[added(one) for one in suggested.best],
            proposed=added(suggested.proposed),
        ),
        Tried(
            method=trial.method,
            reuse=with_groups(trial.reuse, proposed.groups),
            num_utterances=trial.num_utterances,
            full_loss=round(trial.full_loss, 5),
            loss=[
                [None if one.isnan() else round(float(one), 5) for one in row] for row in loss_LL
            ],
            best=[added(one) for one in best],
            limit=added(limit),
            proposed=added(proposed),
        ),
    )


def in_pairs(num_layers: int) -> list[int]:
    """Return groups of two, and a single layer if their number is odd."""
    return [2] * (num_layers // 2) + [1] * (num_layers % 2)


def _added_losses(
    trial: Trial, schedules: Sequence[Groups], report: Callable[[str], None]
) -> Callable[[Groups], Groups]:
    """Try every schedule once; return a function that adds the measured loss to a schedule."""
    distinct = list(dict.fromkeys(tuple(one.groups) for one in schedules))
    report(f"trying {len(distinct)} schedules as a whole")
    losses = dict(zip(distinct, trial.losses_of_groups(distinct), strict=True))
    return lambda one: replace(
        one, added_loss=round(losses[tuple(one.groups)] - trial.full_loss, 4)
    )


def check_budget(latency: EncoderLatency, budget_ms: float, *, num_layers: int) -> None:
    """Raise InputError if even the fastest schedule is predicted to exceed the budget.

    Which schedule is fastest does not depend on the risks.
    """
    fastest = _groups(frontier(torch.ones(num_layers, num_layers), latency.costs)[0], latency)
    if not keeps_within(fastest, budget_ms):
        raise InputError(
            f"no schedule keeps within {budget_ms:g} ms at {latency.length_s:g} s of audio; the "
            f"fastest is groups={fastest.groups}, predicted {fastest.latency_ms:.1f} ms"
        )


def keeps_within(groups: Groups, budget_ms: float) -> bool:
    """Return whether the predicted latency is within the budget."""
    assert groups.latency_ms is not None
    return groups.latency_ms <= budget_ms


def config_text(run: str, suggested: Suggested, tried: Tried | None = None) -> str:
    """Return the proposal as a file of the config group ``reuse``; from trials if there are any."""
    proposed = suggested.proposed if tried is None else tried.proposed
    source = "the attention" if tried is None else f"trials of {tried.method} on the layers"
    why = f"risk {proposed.risk:.2f}"
    if proposed.latency_ms is not None:
        why += f", {proposed.latency_ms:.1f} ms predicted at {suggested.length_s:g} s of audio"
    reuse = with_groups(PROBS, proposed.groups) if tried is None else tried.reuse
    lines = [f"{key}: {_yaml(value)}\n" for key, value in reuse.items()]
    return f"# Proposed from {source} of {' '.join(run.split())}: {why}.\n{''.join(lines)}"


def _yaml(value: object) -> str:
    """Return a value of a reuse config as YAML; except for strings, JSON is valid YAML."""
    return value if isinstance(value, str) else json.dumps(value)


def _within(best: Sequence[Groups], budget_ms: float) -> list[Groups]:
    within = [one for one in best if keeps_within(one, budget_ms)]
    assert within, "the budget was not checked"
    return within


def _costs(latency: EncoderLatency | None) -> LayerCosts:
    return NUM_MAPS if latency is None else latency.costs


def _groups(suggestion: Suggestion, latency: EncoderLatency | None) -> Groups:
    return Groups(
        groups=list(suggestion.groups),
        risk=round(suggestion.risk, 4),
        latency_ms=None if latency is None else round(latency.base_ms + suggestion.cost, 3),
    )
