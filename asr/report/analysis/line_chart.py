"""Lines over a common axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asr.report.html.axis import horizontal_axis, line, tick_room, vertical_axis
from asr.report.html.figure import drawing, figure
from asr.report.html.label import Box
from asr.report.html.markup import Markup, element
from asr.report.html.scale import Scale

_WIDTH, _HEIGHT = 540.0, 320.0


@dataclass(frozen=True, slots=True)
class Line:
    """Values over the axis; NaN interrupts nothing, it is left out. ``strength`` is 0 to 1."""

    name: str
    values: Sequence[float]
    class_: str
    strength: float = 1.0


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    places: Sequence[float],
    place_title: str,
    value_title: str,
    low: float,
    high: float,
    points: bool,
    ticks: Sequence[float] | None = None,
) -> Markup:
    """Each line through its values at ``places``; with ``points`` each value is marked."""
    y = Scale(low, high, _HEIGHT - 52, 34)
    area = Box(tick_room(y), 34, _WIDTH - 16, _HEIGHT - 52)
    x = Scale(min(places), max(max(places), min(places) + 1e-9), area.left + 8, area.right - 8)
    shapes = [
        horizontal_axis(x, area, place_title, ticks=ticks),
        vertical_axis(y, area, value_title),
    ]
    for one in lines:
        known = [
            (place, value)
            for place, value in zip(places, one.values, strict=True)
            if not math.isnan(value)
        ]
        path = "L".join(f"{x(place):.2f} {y(value):.2f}" for place, value in known)
        name = element("title", one.name)
        shapes.append(
            element(
                "path",
                name,
                d=f"M{path}" if path else None,
                class_=f"curve {one.class_}",
                stroke_opacity=one.strength,
            )
        )
        if points:
            shapes += [
                element(
                    "circle",
                    element("title", f"{one.name}, {place_title} {place:g}: {value:.4g}"),
                    cx=x(place),
                    cy=y(value),
                    r=3.0,
                    class_=f"dot {one.class_}",
                )
                for place, value in known
            ]
    described = ", ".join(one.name for one in lines)
    chart = drawing(_WIDTH, _HEIGHT, title, f"{value_title}: {described}.", *shapes)
    return figure(title, chart, "lines")


def line_sign(one: Line) -> Markup:
    """A stretch of the line, for a legend."""
    return element("g", line(2, 7, 22, 7, f"curve {one.class_}"))
