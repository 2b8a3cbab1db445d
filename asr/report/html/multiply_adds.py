"""Where the arithmetic goes: multiply-adds by part of the encoder."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.html.markup import Markup
from asr.report.html.series import Series
from asr.report.html.stacked import Stacked, stacked_charts
from asr.report.table import count_text


def multiply_adds_charts(groups: Sequence[Series]) -> Markup | None:
    """A chart for each length, stacked by part; None without counts."""
    return stacked_charts(
        groups,
        Stacked(
            amounts=lambda record: record.macs,
            title="Multiply-adds of one utterance",
            axis="multiply-adds",
            kind="multiply-adds",
            text=count_text,
            tick=_round_count,
            part_text=part_name,
        ),
    )


def part_name(part: str) -> str:
    """``layers.feedforward_in`` as "layers: feedforward in"."""
    return part.replace(".", ": ").replace("_", " ")


def _round_count(count: float) -> str:
    number, _, prefix = count_text(count).partition(" ")
    return f"{float(number):g} {prefix}".rstrip()
