"""How long a training step takes."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.html.bars import Bar, Segment, bar_chart
from asr.report.html.figure import figure, grid
from asr.report.html.markup import Markup
from asr.report.html.series import Series
from asr.report.record import TrainingStepPoint
from asr.report.table import number_text, speedup_text


def training_step_charts(groups: Sequence[Series]) -> Markup | None:
    """A chart for each length of utterance, a bar for each series; None when none was timed."""
    batches: dict[float, list[tuple[Series, TrainingStepPoint]]] = {}
    for one in groups:
        for point in one.records[0].training_step:
            batches.setdefault(point.length_s, []).append((one, point))
    if not batches:
        return None
    return grid(_chart(batches[length_s]) for length_s in sorted(batches))


def _chart(timed: Sequence[tuple[Series, TrainingStepPoint]]) -> Markup:
    batches = dict.fromkeys(
        f"{point.batch_size} x {point.length_s:g} s in {point.dtype}" for _, point in timed
    )
    bars = [
        Bar(one.name, (Segment(point.median_ms / 1000, one.hue, _text(point)),), _text(point))
        for one, point in timed
    ]
    title = f"Training step on {', '.join(batches)}"
    chart = bar_chart(bars, title=title, axis="time of a step, s", width=760)
    return figure(f"Batch of {', '.join(batches)}", chart, "training-step")


def _text(point: TrainingStepPoint) -> str:
    beside = point.baselines | point.peers
    speedups = [f"{speedup_text(timed.speedup)} vs {name}" for name, timed in beside.items()]
    return ", ".join([f"{number_text(point.median_ms / 1000)} s", *speedups])
