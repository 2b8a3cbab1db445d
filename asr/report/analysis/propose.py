"""Schedules to try, and the one to write down."""

from __future__ import annotations

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

    Raises:
        InputError: no schedule is predicted to keep within the budget.
    """
    assert budget_ms is None or latency is not None
    costs = NUM_MAPS if latency is None else latency.costs
    greedy = _groups(greedy_groups(similarity_LL, threshold=threshold, costs=costs), latency)
    best = [_groups(one, latency) for one in frontier(similarity_LL, costs)]
    within = [one for one in best if budget_ms is None or (one.latency_ms or 0.0) <= budget_ms]
    if not within:
        raise InputError(
            f"no schedule keeps within {budget_ms:g} ms; the fastest is predicted to take "
            f"{best[0].latency_ms:.1f} ms, {best[0].groups}"
        )
    return Suggested(
        threshold=threshold,
        length_s=None if latency is None else latency.length_s,
        budget_ms=budget_ms,
        greedy=greedy,
        best=best,
        proposed=greedy if budget_ms is None else within[-1],
    )


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
