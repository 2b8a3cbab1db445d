"""Where the time goes: milliseconds by part of the encoder."""

from __future__ import annotations

from collections.abc import Sequence

from asr.encoder.parts import in_order
from asr.report.html.axis import plain
from asr.report.html.markup import Markup
from asr.report.html.series import Series
from asr.report.html.stacked import Stacked, stacked_charts
from asr.report.table import number_text


def breakdown_charts(groups: Sequence[Series]) -> Markup | None:
    """A chart for each length, stacked by part; None where no parts were timed."""
    return stacked_charts(
        groups,
        Stacked(
            amounts=lambda record: record.breakdown,
            title="Time of one utterance",
            axis="time inside operations, ms",
            kind="breakdown",
            text=lambda ms: f"{number_text(ms)} ms",
            tick=plain,
            order=in_order,
        ),
    )
