"""An analysis as text for the terminal: a table of layers, and the groups to try."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asr.report.analysis import Analysis, Groups, Suggested, Tried
from asr.report.rows import schedule_text
from asr.report.table import MISSING, Column, Table

NOTES = (
    "below: similarity to the next lower layer, 0 to 1. TV: total variation, heads of one index "
    "(Bhojanapalli et al. 2021); best: each head with the best match below; JS: Jensen-Shannon "
    "(Xiao et al. 2019).",
    "CAD: cumulative attention diagonality, our reading of Shim et al. 2022; 1 on the diagonal, "
    "0.67 uniform.",
    "same, other: attention to one's own token elsewhere and to other tokens, 1 where attention is "
    "uniform; our reading of their phoneme attention relationship, on tokens.",
    "probe: tokens that a linear classifier reads from a layer, on utterances it did not learn "
    "from. The alignment is the model's own, which favours its upper layers.",
)


def headline(analysis: Analysis) -> str:
    """Return what was analysed, and on how much data."""
    counted = analysis.counted
    extras = {
        "not aligned": counted.num_utterances - counted.num_aligned,
        "unreadable": counted.num_skipped,
        "too long": counted.num_left_out,
    }
    rest = "".join(f", {number} {name}" for name, number in extras.items() if number)
    return (
        f"{analysis.run}: {len(analysis.schedule)} layers of {analysis.num_heads} heads, "
        f"reuse {analysis.reuse} ({schedule_text(analysis.schedule)}), "
        f"{counted.num_utterances} utterances of {counted.data}{rest}"
    )


def layer_table(analysis: Analysis) -> Table:
    """Return a table with one row per layer."""
    where = {layer: index for index, layer in enumerate(analysis.map_layers)}
    rows = range(len(analysis.schedule))
    similarity, relationship = analysis.similarity, analysis.relationship

    def on_maps(values: Sequence[float]) -> list[float | None]:
        return [values[where[layer]] if layer in where else None for layer in rows]

    def below(matrix: Sequence[Sequence[float]]) -> list[float | None]:
        return on_maps([math.nan, *(matrix[i][i - 1] for i in range(1, len(matrix)))])

    best = [[mean(heads) for heads in row] for row in similarity.best_match]
    columns = [
        Column("layer", tuple(str(layer) for layer in rows)),
        Column("role", tuple(row.role for row in analysis.schedule), align_right=False),
        number_column("TV below", below(similarity.total_variation)),
        number_column("best below", below(best)),
        number_column("JS below", below(similarity.jensen_shannon)),
        number_column("CAD", on_maps([mean(heads) for heads in analysis.diagonality.area])),
    ]
    if relationship is not None:
        columns += [
            number_column("same", on_maps([mean(heads) for heads in relationship.same])),
            number_column("other", on_maps([mean(heads) for heads in relationship.other])),
        ]
    if analysis.probe is not None:
        columns.append(number_column("probe %", analysis.probe.accuracy, digits=1))
    return Table(tuple(columns), NOTES)


def proposal(analysis: Analysis) -> str:
    """Return the proposal and its reasons, in sentences; empty if a layer has no map."""
    suggested, tried = analysis.suggested, analysis.tried
    if suggested is None:
        return ""
    if tried is not None:
        return _tried_verdict(suggested, tried)
    proposed = suggested.proposed
    if proposed.shares:
        if suggested.budget_ms is not None:
            why = f"the most alike maps of all schedules within {suggested.budget_ms:g} ms"
        else:
            why = f"the maps in each group have a mean JS similarity above {suggested.threshold:g}"
        return (
            f"Proposal: {shared_text(proposed)}. Why: {why}. This is weak evidence, since it does "
            "not show errors; --try probs measures the loss that sharing adds."
        )
    if suggested.budget_ms is not None:
        return f"Proposal: share nothing; the model is within {suggested.budget_ms:g} ms as it is."
    return (
        f"Proposal: share nothing. Why: no neighbouring layers have a JS similarity above "
        f"{suggested.threshold:g}{_nearest_pair(analysis)}. To see what sharing costs all the "
        "same, --try probs measures it and proposes groups; --threshold sets the least similarity."
    )


def _tried_verdict(suggested: Suggested, tried: Tried) -> str:
    proposed, limit = tried.proposed, tried.limit
    assert proposed.added_loss is not None
    if suggested.budget_ms is not None:
        among = f"all schedules within {suggested.budget_ms:g} ms"
    elif suggested.proposed.shares:
        among = f"all schedules as cheap as what similarity proposes, {sizes_text(limit)}"
    else:
        among = (
            "all schedules as cheap as groups of two, since by similarity alone (above "
            f"{suggested.threshold:g}) nothing would be shared"
        )
    if not proposed.shares:
        return f"Proposal: share nothing. Why: that is possible within the limit, {among}."
    other = ""
    if limit.groups != proposed.groups and limit.added_loss is not None:
        other = f"; {sizes_text(limit)} adds {limit.added_loss:.2f}"
    return (
        f"Proposal: {shared_text(proposed)}, by reuse {tried.method}. Why: of {among}, it is the "
        f"one whose pairs add least to the CTC loss; as a whole it adds {proposed.added_loss:.2f} "
        f"to {tried.full_loss:.2f} nats an utterance before any training{other}."
    )


def shared_text(groups: Groups) -> str:
    """Return groups as typed and in words: "groups [1,3]: layers 2 to 3 use the map of 1"."""
    start, parts = 0, []
    for size in groups.groups:
        if size > 1:
            first, last = start + 1, start + size - 1
            layers = f"layer {first} uses" if size == 2 else f"layers {first} to {last} use"
            parts.append(f"{layers} the attention of {start}")
        start += size
    return f"groups {sizes_text(groups)}: {', '.join(parts)}"


def sizes_text(groups: Groups) -> str:
    """Return the groups as ``reuse.groups`` takes them: "[1,3]"."""
    return f"[{','.join(map(str, groups.groups))}]"


def _nearest_pair(analysis: Analysis) -> str:
    matrix = analysis.similarity.jensen_shannon
    pairs = {(i - 1, i): matrix[i][i - 1] for i in range(1, len(matrix))}
    if not pairs:
        return ""
    (lower, upper), value = max(pairs.items(), key=lambda pair: pair[1])
    return f" (layers {lower} and {upper} come nearest, {value:.2f})"


def suggestion_lines(analysis: Analysis) -> list[str]:
    """Return schedules to try; none if a layer has no map."""
    suggested, tried = analysis.suggested, analysis.tried
    if suggested is None:
        return []
    lines = [
        f"groups above JS similarity {suggested.threshold:g}, greedily: "
        f"{groups_text(suggested.greedy)}",
        f"least risk for its {cost_name(suggested)} "
        "(risk: sum over followers of 1 - JS similarity to the leader):",
        *(f"  {groups_text(best)}" for best in suggested.best),
    ]
    if tried is not None:
        lines += trial_lines(suggested, tried)
    elif suggested.budget_ms is not None:
        lines.append(f"within {suggested.budget_ms:g} ms: {groups_text(suggested.proposed)}")
    return lines


def trial_lines(suggested: Suggested, tried: Tried) -> list[str]:
    """Return schedules by the loss that they add, and both proposals."""
    limit = (
        f"at no more {cost_name(suggested)} than {sizes_text(tried.limit)}"
        if suggested.budget_ms is None
        else f"within {suggested.budget_ms:g} ms"
    )
    return [
        f"least loss added for its {cost_name(suggested)} (risk: sum over followers of the loss "
        f"that each alone adds to {tried.full_loss:.3f}, on {tried.num_utterances} utterances, by "
        f"reuse {tried.method} without training):",
        *(f"  {groups_text(best)}" for best in tried.best),
        f"proposed by similarity: {groups_text(suggested.proposed)}",
        f"proposed by trial, {limit}: {groups_text(tried.proposed)}",
        "Training can recover some of these losses: convert, fine-tune and compare.",
    ]


def cost_name(suggested: Suggested) -> str:
    """Return the name of the cost of schedules."""
    if suggested.length_s is None:
        return "maps"
    return f"latency at {suggested.length_s:g} s of audio"


def groups_text(groups: Groups) -> str:
    """Return groups, risk and measurements: "[2,2] risk 0.13, 15.2 ms"."""
    latency = "" if groups.latency_ms is None else f", {groups.latency_ms:.1f} ms"
    added = "" if groups.added_loss is None else f", adds {groups.added_loss:.2f} to the loss"
    return f"{sizes_text(groups)} risk {groups.risk:.2f}{added}{latency}"


def number_column(header: str, values: Sequence[float | None], *, digits: int = 2) -> Column:
    """Return a column of numbers, with a dash for missing ones."""
    texts = [
        MISSING if value is None or math.isnan(value) else f"{value:.{digits}f}" for value in values
    ]
    return Column(header, tuple(texts))


def mean(values: Sequence[float]) -> float:
    """Return the mean, NaN for no values."""
    return sum(values) / len(values) if values else math.nan
