"""Horizontal stacked bars, one below the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asr.report.html.axis import horizontal_axis, plain, words
from asr.report.html.figure import drawing
from asr.report.html.label import Box, shortened, text_width
from asr.report.html.markup import Markup, element
from asr.report.html.scale import from_zero

_PITCH, _BAR = 26.0, 17.0
_LABEL_PX = 170.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar; ``title`` shows when the pointer rests on it."""

    value: float
    class_: str
    title: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: its name on the left, the text on the right of its segments."""

    name: str
    segments: tuple[Segment, ...]
    text: str

    @property
    def total(self) -> float:
        """Sum of the segments."""
        return sum(segment.value for segment in self.segments)


def bar_chart(
    bars: Sequence[Bar],
    *,
    title: str,
    axis: str,
    width: float,
    text: Callable[[float], str] = plain,
) -> Markup:
    """Bars on one scale from zero; ``axis`` names it with its unit, ``text`` writes its ticks."""
    names = [shortened(bar.name, _LABEL_PX) for bar in bars]
    left = max(map(text_width, names)) + 12
    right = max(text_width(bar.text) for bar in bars) + 12
    area = Box(left, 6, width - right, 10 + _PITCH * len(bars))
    x = from_zero(max(bar.total for bar in bars), area.left, area.right)
    shapes = []
    for row, (bar, name) in enumerate(zip(bars, names, strict=True)):
        top = area.top + 4 + row * _PITCH + (_PITCH - _BAR) / 2 - 2
        shapes.append(words(name, left - 8, top + 13, "name", anchor="end"))
        start = 0.0
        for segment in bar.segments:
            shapes.append(
                element(
                    "rect",
                    element("title", f"{bar.name}: {segment.title}"),
                    x=x(start),
                    y=top,
                    width=x(start + segment.value) - x(start),
                    height=_BAR,
                    class_=f"segment {segment.class_}",
                )
            )
            start += segment.value
        shapes.append(words(bar.text, x(start) + 6, top + 13, "value"))
    described = "; ".join(f"{bar.name}: {bar.text}" for bar in bars)
    return drawing(
        width,
        area.bottom + 48,
        title,
        f"{described}.",
        horizontal_axis(x, area, axis, text=text),
        *shapes,
    )
