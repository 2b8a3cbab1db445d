"""A matrix as a grid of cells, the darker the larger."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asr.report.html.axis import words
from asr.report.html.figure import drawing, figure
from asr.report.html.label import text_width
from asr.report.html.markup import Markup, element

_TITLE_PX = 20.0
_STRONG = 0.6  # share of the range from which a number is written light on dark


def heat_map(
    title: str,
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_title: str,
    column_title: str,
    low: float,
    high: float,
    cell_px: float = 34.0,
    numbers: bool = True,
) -> Markup:
    """``values`` from ``low`` (blank) to ``high`` (full); NaN is grey.

    ``numbers`` writes two digits into every cell; the exact value is in its title either way.
    """
    left = max(text_width(name) for name in (*rows, row_title)) + 12
    widest = max(map(text_width, columns))
    upright = widest > cell_px  # names of columns, read from below
    top = _TITLE_PX + (widest + 10 if upright else _TITLE_PX)
    width = max(left + cell_px * len(columns) + 2, text_width(column_title) + left)
    height = top + cell_px * len(rows) + 2
    marks = [words(column_title, left, 12, "title"), words(row_title, 2, top - 6, "title")]
    for index, name in enumerate(columns):
        middle = left + (index + 0.5) * cell_px
        marks.append(
            element(
                "text",
                name,
                class_="tick",
                transform=f"translate({middle + 4:g} {top - 6:g}) rotate(-90)",
            )
            if upright
            else words(name, middle, top - 6, "tick", anchor="middle")
        )
    for row, (name, line) in enumerate(zip(rows, values, strict=True)):
        y = top + row * cell_px
        marks.append(words(name, left - 6, y + cell_px / 2 + 4, "tick", anchor="end"))
        for column, value in enumerate(line):
            label = f"{row_title} {name}, {column_title} {columns[column]}: {_text(value, 4)}"
            marks += _cell(value, left + column * cell_px, y, cell_px, label, low, high, numbers)
    described = f"{row_title} by {column_title}, {_extent(values)}."
    return figure(title, drawing(width, height, title, described, *marks), "heat-map")


def _cell(
    value: float,
    x: float,
    y: float,
    size: float,
    label: str,
    low: float,
    high: float,
    numbers: bool,
) -> list[Markup]:
    place = {"x": x, "y": y, "width": size - 1, "height": size - 1}
    if math.isnan(value):
        return [element("rect", element("title", label), **place, class_="nothing")]
    share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 1.0
    shapes = [element("rect", element("title", label), **place, class_="cell", fill_opacity=share)]
    if numbers:
        strength = "number strong" if share > _STRONG else "number"
        shapes.append(words(_text(value, 2), x + size / 2, y + size / 2 + 4, strength))
    return shapes


def _extent(values: Sequence[Sequence[float]]) -> str:
    known = [value for line in values for value in line if not math.isnan(value)]
    return f"from {_text(min(known), 2)} to {_text(max(known), 2)}" if known else "nothing measured"


def _text(value: float, digits: int) -> str:
    return "nothing measured" if math.isnan(value) else f"{value:.{digits}f}"
