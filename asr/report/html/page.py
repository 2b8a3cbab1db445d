"""The report as one HTML file: no network, no library, and nothing but records behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from asr.report.html.breakdown import breakdown_charts
from asr.report.html.choice import choice
from asr.report.html.curves import latency_chart, peer_chart, speedup_chart
from asr.report.html.document import asset, document
from asr.report.html.examples import error_examples
from asr.report.html.figure import grid, legend, section
from asr.report.html.forest import forest_charts
from asr.report.html.heading import heading, page_title, provenance
from asr.report.html.learning import learning_charts
from asr.report.html.markup import Markup, element
from asr.report.html.multiply_adds import multiply_adds_charts
from asr.report.html.results import results_table, schedules_table
from asr.report.html.roofline import roofline_charts
from asr.report.html.scaling import scaling_charts
from asr.report.html.seeds import seeds_table
from asr.report.html.series import Series, grouped
from asr.report.html.strips import schedule_strips
from asr.report.html.trade_off import trade_off_chart
from asr.report.html.training import training_chart
from asr.report.html.training_step import training_step_charts
from asr.report.hypotheses import ScoredUtterance, WerDifference
from asr.report.notes import reading_notes
from asr.report.record import RunRecord
from asr.report.rows import BASELINES, latency_points
from asr.report.verdict import usual_length, verdict


def page(
    records: Sequence[RunRecord],
    differences: Sequence[WerDifference] = (),
    examples: Mapping[str, Sequence[ScoredUtterance]] | None = None,
) -> str:
    """The page for ``records``, in their order; parts for which they hold nothing are left out.

    What they come to stands first, where they come from last. ``examples`` are the utterances of a
    single run by split, of which those with the most errors are shown.

    Runs that are unlike are shown under a warning; that they may be compared at all is for
    :func:`asr.report.comparison.compare` to say. Its security policy lets the browser load
    nothing and run no other script than its own.
    """
    assert records
    groups = grouped(records)
    return document(
        page_title(records),
        heading(records),
        element("main", *_sections(records, groups, differences, examples or {})),
        provenance(records),
        style=asset(__package__, "style.css"),
        script=asset(__package__, "sort.js"),
    )


def _sections(
    records: Sequence[RunRecord],
    groups: Sequence[Series],
    differences: Sequence[WerDifference],
    examples: Mapping[str, Sequence[ScoredUtterance]],
) -> Iterator[Markup]:
    said = [element("p", text) for text in verdict(records, differences)]
    if said:
        yield section("Verdict", element("div", *said, class_="verdict"), id_="verdict")
    notes = element(
        "ul",
        *(element("li", note) for note in reading_notes(records, by_run=False)),
        class_="notes",
    )
    yield section(
        "Results",
        schedules_table(records, groups, differences),
        notes,
        seeds_table(groups) or "",
        element(
            "details",
            element("summary", "Every run at every length"),
            results_table(records, groups),
        ),
        id_="results",
    )
    curves = list(learning_charts(groups))
    if curves:
        yield section(
            "Learning curves",
            grid(curves),
            reading="Loss is the mean of the training steps since the point before, WER that of "
            "the dev split. A curve that still falls at its end says that training ended early.",
            id_="learning",
        )
    worst = error_examples(examples)
    if worst:
        yield section(
            "Utterances with the most errors",
            worst,
            reading="Struck out: words of the reference that were not recognised. Underlined: "
            "words written in their place, or too many.",
            id_="examples",
        )
    signs = legend((one.sign(), one.name) for one in groups)
    trade_offs = _trade_offs(groups) if len(groups) > 1 else None
    if trade_offs:
        yield section(
            "WER against latency",
            signs,
            trade_offs,
            reading="Lower left is better. Upright bars are bootstrap intervals of the WER, bars "
            "to the right reach to the 90th percentile of the latency. The dashed line is the "
            "Pareto front: no schedule is both faster and more accurate than one on it. With "
            "several seeds of one schedule, a cross marks their mean and the front runs through "
            "it.",
            id_="trade-off",
        )
    forests = list(forest_charts(differences, groups))
    if forests:
        yield section(
            "Paired differences",
            grid(forests),
            reading="Left of zero a schedule makes fewer errors than none. Intervals cover who was "
            "tested and, with two seeds or more of both, the training seeds; they are those of one "
            "difference alone. Hollow marks are no findings: their p, corrected by Holm for all "
            "schedules of the table, is above 0.05, or there is one seed only.",
            id_="differences",
        )
    times_over_length = [
        latency_chart(groups),
        *(speedup_chart(groups, name) for name in BASELINES),
    ]
    if times_over_length[0]:
        yield section(
            "Latency over length",
            signs,
            grid(curve for curve in times_over_length if curve),
            reading="Grey lines are the encoder without reuse by its attention kernel, fused and "
            "explicit, timed in alternation with the runs. Reuse pays where its speed-up lies "
            "above 1.",
            id_="latency",
        )
    peers = dict.fromkeys(
        name for record in records for point in record.latency for name in point.peers
    )
    if peers:
        charts = [peer_chart(groups, name) for name in peers]
        yield section(
            "Against other libraries",
            signs,
            grid(chart for chart in charts if chart),
            reading="Encoders of other libraries at the same dimensions, without reuse, timed in "
            "alternation with the runs. Above 1 a run is faster; at 1.25 it takes 0.8 of their "
            "time.",
            id_="libraries",
        )
    times = breakdown_charts(groups)
    if times:
        yield section(
            "Time by part",
            times,
            reading="Time inside the operations of one call, each timed on its own and apart from "
            "the latency, which has the program between them too. Fused attention is scores, "
            "softmax and mix in one kernel; scores beside it are its position term. Each length "
            "has a scale of its own.",
            id_="breakdown",
        )
    roofs = roofline_charts(groups)
    if roofs:
        yield section(
            "Roofline",
            roofs,
            reading="The grey line is what this machine reached beside the encoder: its fastest "
            "matrix product, and memory traffic left of the ridge. Marks are the parts of the "
            "encoder by their operations for each byte read and written, with their share of the "
            "ceiling that binds them; a part above the line is served by a cache.",
            id_="roofline",
        )
    costs = multiply_adds_charts(groups)
    if costs:
        yield section(
            "Multiply-adds by part",
            costs,
            reading="Matrix products, convolutions and attention of one utterance. Each length has "
            "a scale of its own.",
            id_="multiply-adds",
        )
    scaling = scaling_charts(groups)
    if scaling:
        yield section(
            "Threads and batches",
            signs,
            scaling,
            reading="Audio encoded in a second by calls on more CPU threads, and on more "
            "utterances of equal length. Each dtype has charts of its own.",
            id_="scaling",
        )
    steps = training_step_charts(groups)
    if steps:
        yield section(
            "Training step",
            steps,
            reading="Encoder and CTC head forward and backward, and the update of the weights, on "
            "random batches in alternation with the encoder without reuse. Above 1 the run is "
            "faster than it.",
            id_="training-step",
        )
    training = training_chart(groups)
    if training:
        yield section("Training cost", training, id_="training")
    strips = schedule_strips(groups)
    if strips:
        yield section("Schedules", strips, id_="schedules")


def _trade_offs(groups: Sequence[Series]) -> Markup | None:
    records = [record for one in groups for record in one.records]
    splits = dict.fromkeys(split for record in records for split in record.wer)
    lengths = {length for record in records for length in latency_points(record)}
    panels: dict[str, Markup] = {}
    for length in sorted(lengths, key=float):
        charts = [trade_off_chart(groups, split, length) for split in splits]
        if any(charts):
            panels[f"{length} s"] = grid(chart for chart in charts if chart)
    if not panels:
        return None
    chosen = usual_length([label.removesuffix(" s") for label in panels])
    return choice("length", "Length of the audio", panels, f"{chosen} s")
