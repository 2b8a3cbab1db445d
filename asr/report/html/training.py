"""What training took."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.html.bars import Bar, Segment, bar_chart
from asr.report.html.figure import figure, legend, sign
from asr.report.html.markup import Markup, element, joined
from asr.report.html.series import Series
from asr.report.record import TrainingCost
from asr.report.table import duration_text

_UNITS = (("s", 1.0), ("min", 60.0), ("h", 3600.0))


def training_chart(groups: Sequence[Series]) -> Markup | None:
    """Time of training, run by run, with the part without data; None when none was trained."""
    trained = [
        (record.run, record.training, one)
        for one in groups
        for record in one.records
        if record.training is not None
    ]
    if not trained:
        return None
    longest_s = max(cost.train_s for _, cost, _ in trained)
    unit, seconds = next((u for u in reversed(_UNITS) if longest_s >= 2 * u[1]), _UNITS[0])
    bars = [_bar(name, cost, one, seconds) for name, cost, one in trained]
    title = "Training time"
    chart = bar_chart(bars, title=title, axis=f"time on the clock, {unit}", width=760)
    signs = [
        (_sign("trained"), "computing"),
        (_sign("trained waiting"), "waiting for data"),
    ]
    return joined([legend(signs), figure(title, chart, "training")])


def _bar(name: str, cost: TrainingCost, series: Series, unit_s: float) -> Bar:
    waiting_s = cost.train_s * cost.data_wait_share
    details = f"{cost.num_steps:,} steps, {cost.num_epochs:.3g} epochs"
    if cost.interrupted:
        details += ", interrupted"
    text = f"{duration_text(cost.train_s)}, {details}"
    spent = f"{text}, {duration_text(cost.cpu_s)} of CPU time"
    return Bar(
        name,
        (
            Segment((cost.train_s - waiting_s) / unit_s, series.hue, f"{spent}"),
            Segment(
                waiting_s / unit_s,
                f"waiting {series.hue}",
                f"waiting for data, {duration_text(waiting_s)} ({cost.data_wait_share:.1%})",
            ),
        ),
        text,
    )


def _sign(class_: str) -> Markup:
    return sign(element("rect", x=4, y=1, width=16, height=12, class_=f"segment {class_}"))
