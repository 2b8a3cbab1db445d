"""The page of one run or of a comparison: verdict, tables, charts, origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from asr.report.charts.bars import (
    TRAINING_LOOKS,
    Stack,
    breakdown_charts,
    multiply_adds_charts,
    training_chart,
    training_step_charts,
)
from asr.report.charts.curves import (
    latency_chart,
    learning_charts,
    peer_chart,
    scaling_charts,
    speedup_chart,
)
from asr.report.charts.errors import difference_charts, trade_off_chart
from asr.report.charts.roofline import roofline_charts
from asr.report.charts.schedule import ROLE_LOOKS, ROLE_MEANINGS, schedule_chart
from asr.report.charts.style import Chart, box_sign
from asr.report.further_tables import decoding_table, group_table
from asr.report.hypotheses import ScoredUtterance, WerDifference
from asr.report.notes import Origin, mismatches, origins, reading_notes
from asr.report.pages.render import (
    Block,
    Choice,
    Figures,
    Folded,
    Legend,
    Notes,
    Page,
    Paragraphs,
    Section,
    render,
    table_grid,
)
from asr.report.pages.results import (
    runs_grid,
    schedules_grid,
    seeds_grid,
    series_legend,
    worst_utterances,
)
from asr.report.record import RunRecord
from asr.report.rows import BASELINE_NAMES, SeedGroup, by_seed, latency_points
from asr.report.streaming_table import streaming_table
from asr.report.table import Table
from asr.report.verdict import usual_length, verdict


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The compared records; ``groups`` are their series."""

    records: Sequence[RunRecord]
    groups: Sequence[SeedGroup]
    differences: Sequence[WerDifference]
    examples: Mapping[str, Sequence[ScoredUtterance]]


def comparison_page(
    records: Sequence[RunRecord],
    differences: Sequence[WerDifference] = (),
    examples: Mapping[str, Sequence[ScoredUtterance]] | None = None,
) -> str:
    """Return the page for ``records``, in their order, without the parts that they lack.

    The verdict comes first, hardware and versions last. ``examples`` are the utterances of a single
    run by split; those with the most errors are shown.

    Runs that differ in hardware or data are shown under a warning; whether they may be compared at
    all is decided by `asr.report.comparison.compare`.
    """
    assert records
    compared = _Comparison(records, by_seed(records), differences, examples or {})
    title = page_title(records)
    page = Page(
        title=title,
        heading=title,
        warnings=mismatches(records),
        sections=[one for section in _SECTIONS if (one := section(compared)).blocks],
        origins=[*origins(records), _recorded(records)],
        is_sortable=True,
    )
    return render(page)


def page_title(records: Sequence[RunRecord]) -> str:
    """Return the recipes' names and the number of runs."""
    names = dict.fromkeys(
        str(record.config["name"]) for record in records if "name" in record.config
    )
    runs = f"{len(records)} run{'s' if len(records) != 1 else ''}"
    return f"{', '.join(names)}: {runs}" if names else f"Encore: {runs}"


def _recorded(records: Sequence[RunRecord]) -> Origin:
    times = sorted({record.created_at for record in records})
    return Origin("Recorded", times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}")


def _verdict(compared: _Comparison) -> Section:
    sentences = list(verdict(compared.records, compared.differences))
    return Section(
        id="verdict",
        title="Verdict",
        blocks=[Paragraphs(sentences, "verdict")] if sentences else [],
    )


def _results(compared: _Comparison) -> Section:
    records, groups = compared.records, compared.groups
    seeds = seeds_grid(groups)
    return Section(
        id="results",
        title="Results",
        blocks=[
            schedules_grid(records, groups, compared.differences),
            Notes(list(reading_notes(records, by_run=False))),
            *([seeds] if seeds else []),
            Folded("Every run at every length", runs_grid(records, groups)),
        ],
    )


def _labels(compared: _Comparison) -> Section:
    return Section(
        id="labels", title="Error rates by label", blocks=_grid(group_table(compared.records))
    )


def _decoding(compared: _Comparison) -> Section:
    return Section(
        id="decoding", title="Time of decoding", blocks=_grid(decoding_table(compared.records))
    )


def _learning(compared: _Comparison) -> Section:
    return Section(
        id="learning",
        title="Learning curves",
        reading="Loss is the mean over training steps since the point before; WER is on the dev "
        "split. A curve that still falls at its end means that training ended too early.",
        blocks=_figures("learning", learning_charts(compared.groups)),
    )


def _examples(compared: _Comparison) -> Section:
    worst = worst_utterances(compared.examples)
    return Section(
        id="examples",
        title="Utterances with the most errors",
        reading="Struck out: words of the reference that were not recognised. Underlined: "
        "words recognised in their place, or inserted.",
        blocks=[worst] if worst else [],
    )


def _trade_off(compared: _Comparison) -> Section:
    groups = compared.groups
    splits = dict.fromkeys(split for record in compared.records for split in record.wer)
    panels = _by_length(
        compared,
        "trade-off",
        lambda length: [trade_off_chart(groups, split, length) for split in splits],
    )
    return Section(
        id="trade-off",
        title="WER against latency",
        reading="Lower left is better. Upright bars are bootstrap intervals of the WER, bars "
        "to the right reach to the 90th percentile of the latency. The dashed line is the "
        "Pareto front: no schedule is both faster and more accurate than one on it. With "
        "several seeds of one schedule, a cross marks their mean and the front runs through it.",
        blocks=[series_legend(groups), *panels] if panels and len(groups) > 1 else [],
    )


def _differences(compared: _Comparison) -> Section:
    return Section(
        id="differences",
        title="Paired differences",
        reading="Left of zero, a schedule makes fewer errors than none. Intervals cover the choice "
        "of speakers and, with two seeds or more of both, the training seeds, for each difference "
        "separately. Hollow marks are not significant: their p, corrected by Holm for all "
        "schedules of the table, is above 0.05, or there is only one seed.",
        blocks=_figures("differences", difference_charts(compared.differences, compared.groups)),
    )


def _latency(compared: _Comparison) -> Section:
    groups = compared.groups
    latency = _figures("latency", [latency_chart(groups)])
    speedups = _figures("speed-up", [speedup_chart(groups, name) for name in BASELINE_NAMES])
    return Section(
        id="latency",
        title="Latency over length",
        reading="Grey lines are the encoder without reuse, with the fused and the explicit "
        "attention kernel, timed in alternation with the runs. Reuse is faster where its speed-up "
        "is above 1.",
        blocks=[series_legend(groups), *latency, *speedups] if latency else [],
    )


def _streaming(compared: _Comparison) -> Section:
    return Section(
        id="streaming", title="Live streams", blocks=_grid(streaming_table(compared.records))
    )


def _libraries(compared: _Comparison) -> Section:
    peers = dict.fromkeys(
        name for record in compared.records for point in record.latency for name in point.peers
    )
    charts = _figures("libraries", [peer_chart(compared.groups, name) for name in peers])
    return Section(
        id="libraries",
        title="Against other libraries",
        reading="Encoders of other libraries with the same dimensions, without reuse, timed in "
        "alternation with the runs. Above 1, a run is faster; at 1.25 it takes 0.8 of their time.",
        blocks=[series_legend(compared.groups), *charts] if charts else [],
    )


def _breakdown(compared: _Comparison) -> Section:
    return Section(
        id="breakdown",
        title="Time by part",
        reading="Time inside the operations of one call. Each operation is timed separately; the "
        "latency also includes the time between them. Fused attention is scores, softmax and mix "
        "in one kernel; scores beside it are its position term. Each length has its own scale.",
        blocks=_stacked("breakdown", breakdown_charts(compared.groups)),
    )


def _roofline(compared: _Comparison) -> Section:
    return Section(
        id="roofline",
        title="Roofline",
        reading="The grey line is what this machine reached beside the encoder: its fastest "
        "matrix product, and memory traffic left of the ridge. Marks are the parts of the "
        "encoder by their operations for each byte read and written, with their share of the "
        "ceiling that binds them; a part above the line is served by a cache.",
        blocks=_by_length(
            compared, "roofline", lambda length: list(roofline_charts(compared.groups, length))
        ),
    )


def _multiply_adds(compared: _Comparison) -> Section:
    return Section(
        id="multiply-adds",
        title="Multiply-adds by part",
        reading="Matrix products, convolutions and attention of one utterance. Each length has its "
        "own scale.",
        blocks=_stacked("multiply-adds", multiply_adds_charts(compared.groups)),
    )


def _scaling(compared: _Comparison) -> Section:
    charts = _figures("scaling", scaling_charts(compared.groups))
    return Section(
        id="scaling",
        title="Threads and batches",
        reading="Audio encoded per second with more CPU threads, and with more utterances of equal "
        "length. Each dtype has its own charts.",
        blocks=[series_legend(compared.groups), *charts] if charts else [],
    )


def _training_step(compared: _Comparison) -> Section:
    return Section(
        id="training-step",
        title="Training step",
        reading="Encoder and CTC head forward and backward, and the update of the weights, on "
        "random batches, in alternation with the encoder without reuse. Above 1, the run is "
        "faster.",
        blocks=_figures("training-step", training_step_charts(compared.groups)),
    )


def _training(compared: _Comparison) -> Section:
    charts = _figures("training", [training_chart(compared.groups)])
    looks = [(Markup(box_sign(**look)), name) for name, look in TRAINING_LOOKS.items()]
    return Section(
        id="training", title="Training cost", blocks=[Legend(looks), *charts] if charts else []
    )


def _schedules(compared: _Comparison) -> Section:
    charts = _figures("schedules", [schedule_chart(compared.groups)])
    roles = [
        (Markup(box_sign(**ROLE_LOOKS[role])), meaning) for role, meaning in ROLE_MEANINGS.items()
    ]
    return Section(
        id="schedules", title="Schedules", blocks=[Legend(roles), *charts] if charts else []
    )


_SECTIONS: tuple[Callable[[_Comparison], Section], ...] = (
    _verdict, _results, _labels, _learning, _examples, _trade_off, _differences, _decoding,
    _latency, _streaming, _libraries, _breakdown, _roofline, _multiply_adds, _scaling,
    _training_step, _training, _schedules,
)  # fmt: skip
"""Functions of the sections in their order; a section without blocks is left out."""


def _figures(kind: str, charts: Iterable[Chart | None]) -> list[Block]:
    """Return the existing charts as one block, or none."""
    drawn = [chart for chart in charts if chart]
    return [Figures(kind, drawn)] if drawn else []


def _grid(table: Table | None) -> list[Block]:
    """Return a table with its notes, or nothing."""
    return [table_grid(table), Notes(list(table.notes))] if table else []


def _stacked(kind: str, stack: Stack | None) -> list[Block]:
    if stack is None:
        return []
    parts = [(Markup(box_sign(facecolor=colour)), name) for colour, name in stack.legend]
    return [Legend(parts), Figures(kind, stack.charts)]


def _by_length(
    compared: _Comparison, kind: str, charts: Callable[[str], Sequence[Chart | None]]
) -> list[Block]:
    """Return the charts of each length as panels to choose from; a single panel stands alone."""
    lengths = {length for record in compared.records for length in latency_points(record)}
    drawn = {length: _figures(kind, charts(length)) for length in sorted(lengths, key=float)}
    panels = {length: blocks[0] for length, blocks in drawn.items() if blocks}
    if len(panels) < 2:
        return list(panels.values())
    return [
        Choice(
            name=f"{kind}-length",
            question="Length of the audio",
            panels=[(f"{length} s", panel) for length, panel in panels.items()],
            chosen=f"{usual_length(list(panels))} s",
        )
    ]
