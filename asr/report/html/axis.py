"""Axes: grid lines, tick labels, and a title with the unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from asr.report.html.label import Box, text_width
from asr.report.html.markup import Markup, element, joined
from asr.report.html.scale import Scale

_TICK_GAP_PX = 8.0


def plain(value: float) -> str:
    """A tick label as short as can be."""
    return f"{value:g}"


def horizontal_axis(
    scale: Scale,
    area: Box,
    title: str,
    *,
    ticks: Iterable[float] | None = None,
    text: Callable[[float], str] = plain,
) -> Markup:
    """Below ``area``; tick labels that would touch the one before are left out."""
    marks: list[Markup] = []
    free_from = -float("inf")
    for value in sorted(ticks) if ticks is not None else scale.ticks():
        x, label = scale(value), text(value)
        marks.append(line(x, area.top, x, area.bottom, "grid"))
        if x - text_width(label) / 2 >= free_from:
            marks.append(words(label, x, area.bottom + 16, "tick", anchor="middle"))
            free_from = x + text_width(label) / 2 + _TICK_GAP_PX
    return joined(
        [
            *marks,
            line(area.left, area.bottom, area.right, area.bottom, "axis"),
            words(title, (area.left + area.right) / 2, area.bottom + 36, "title", anchor="middle"),
        ]
    )


def vertical_axis(scale: Scale, area: Box, title: str) -> Markup:
    """Left of ``area``, the title above it."""
    marks: list[Markup] = []
    free_from = float("inf")
    for value in scale.ticks():
        y = scale(value)
        marks.append(line(area.left, y, area.right, y, "grid"))
        if y <= free_from:
            marks.append(words(plain(value), area.left - 7, y + 4, "tick", anchor="end"))
            free_from = y - 15
    return joined([*marks, words(title, 2, area.top - 14, "title")])


def tick_room(scale: Scale) -> float:
    """Pixels that the tick labels of a vertical axis need."""
    return max((text_width(plain(value)) for value in scale.ticks()), default=0.0) + 14


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def words(
    text: str, x: float, y: float, class_: str | None = None, *, anchor: str | None = None
) -> Markup:
    """A text with its baseline at ``y``."""
    return element("text", text, x=x, y=y, class_=class_, text_anchor=anchor)
