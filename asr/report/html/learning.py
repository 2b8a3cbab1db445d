"""Learning curves: the loss of training and the WER of validations over the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from asr.report.html.curves import Curve, curve_chart
from asr.report.html.markup import Markup
from asr.report.html.series import Series
from asr.report.record import LearningPoint
from asr.report.table import number_text


def learning_charts(groups: Sequence[Series]) -> Iterator[Markup]:
    """Loss and dev WER, as far as the records have them; a line for every run."""
    kinds: tuple[tuple[str, str, Callable[[LearningPoint], float | None]], ...] = (
        ("Training loss", "loss", lambda point: point.train_loss),
        ("WER of the validations", "WER, % of words of dev", lambda point: point.dev_wer),
    )
    for title, axis, value in kinds:
        curves = [
            Curve(record.run, points, one)
            for one in groups
            for record in one.records
            if (
                points := tuple(
                    (float(point.step), number)
                    for point in record.learning
                    if (number := value(point)) is not None
                )
            )
        ]
        chart = curve_chart(
            curves,
            title,
            axis,
            "learning",
            width=540,
            text=number_text,
            over="steps",
            place_text=lambda step: f"step {step:,.0f}",
        )
        if chart:
            yield chart
