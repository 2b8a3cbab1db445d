"""Counts over equal intervals as upright bars."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.html.axis import horizontal_axis, tick_room, vertical_axis
from asr.report.html.figure import drawing
from asr.report.html.label import Box
from asr.report.html.markup import Markup, element
from asr.report.html.scale import Scale, from_zero

_WIDTH, _HEIGHT = 540.0, 260.0
_TOP, _BOTTOM = 30.0, 48.0


def histogram(counts: Sequence[int], width: float, *, title: str, axis: str, what: str) -> Markup:
    """Bar ``i`` counts ``what`` from ``i * width`` to ``(i + 1) * width``."""
    y = Scale(0.0, 1.05 * max(counts), _HEIGHT - _BOTTOM, _TOP)
    area = Box(tick_room(y), _TOP, _WIDTH - 14, _HEIGHT - _BOTTOM)
    x = from_zero(width * len(counts), area.left, area.right)
    bars = [
        element(
            "rect",
            element("title", f"{index * width:g} to {(index + 1) * width:g}: {count:,} {what}"),
            x=x(index * width),
            y=y(count),
            width=x((index + 1) * width) - x(index * width),
            height=area.bottom - y(count),
            class_="segment hue0",
        )
        for index, count in enumerate(counts)
        if count
    ]
    most = max(range(len(counts)), key=counts.__getitem__)
    return drawing(
        _WIDTH,
        _HEIGHT,
        title,
        f"{sum(counts):,} {what}, most of them from {most * width:g} to {(most + 1) * width:g}",
        vertical_axis(y, area, what),
        horizontal_axis(x, area, axis),
        *bars,
    )
