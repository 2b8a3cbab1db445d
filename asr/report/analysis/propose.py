"""Schedules to try, and the one to write down."""

from __future__ import annotations

import torch
from torch import Tensor

from asr.report.analysis.latency import EncoderLatency
from asr.report.analysis.result import Groups, Suggested
from asr.reuse.suggest import NUM_MAPS, Suggestion, frontier, greedy_groups
from asr.types import InputError


def propose(
    similarity_LL: Tensor,
    *,
    threshold: float,
    latency: EncoderLatency | None = None,
    budget_ms: float | None = None,
) -> Suggested:
    """Groups by threshold, the frontier of risk against cost, and the proposal.

    A budget must have passed `check_budget`.
    """
    assert budget_ms is None or latency is not None
    costs = NUM_MAPS if latency is None else latency.costs
    greedy = _groups(greedy_groups(similarity_LL, threshold=threshold, costs=costs), latency)
    best = [_groups(one, latency) for one in frontier(similarity_LL, costs)]
    within = [one for one in best if budget_ms is None or keeps_within(one, budget_ms)]
    assert within, "the budget was not checked"
    return Suggested(
        threshold=threshold,
        length_s=None if latency is None else latency.length_s,
        budget_ms=budget_ms,
        greedy=greedy,
        best=best,
        proposed=greedy if budget_ms is None else within[-1],
    )


def check_budget(latency: EncoderLatency, budget_ms: float, *, num_layers: int) -> None:
    """Raise InputError where no schedule at all is predicted to keep within the budget.

    Which one is fastest does not depend on the similarity of layers.
    """
    fastest = _groups(frontier(torch.zeros(num_layers, num_layers), latency.costs)[0], latency)
    if not keeps_within(fastest, budget_ms):
        raise InputError(
            f"no schedule keeps within {budget_ms:g} ms at {latency.length_s:g} s of audio; the "
            f"fastest is groups={fastest.groups}, predicted {fastest.latency_ms:.1f} ms"
        )


def keeps_within(groups: Groups, budget_ms: float) -> bool:
    """Whether the predicted latency is no more than the budget."""
    assert groups.latency_ms is not None
    return groups.latency_ms <= budget_ms


def config_text(run: str, suggested: Suggested) -> str:
    """The proposal as a file of the config group ``reuse``."""
    proposed = suggested.proposed
    why = f"risk {proposed.risk:.2f}"
    if proposed.latency_ms is not None:
        why += f", {proposed.latency_ms:.1f} ms predicted at {suggested.length_s:g} s of audio"
    return (
        f"# Proposed from the attention of {' '.join(run.split())}: {why}.\n"
        "_target_: asr.reuse.probs.ReuseProbs\n"
        f"groups: {proposed.groups} # sizes of consecutive groups\n"
        "group_size: null\npattern: null\nleaders: null\n"
    )


def _groups(suggestion: Suggestion, latency: EncoderLatency | None) -> Groups:
    return Groups(
        groups=list(suggestion.groups),
        risk=round(suggestion.risk, 4),
        latency_ms=None if latency is None else round(latency.base_ms + suggestion.cost, 3),
    )
