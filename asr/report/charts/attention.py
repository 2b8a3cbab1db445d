"""Charts of an analysis of attention: heat maps of matrices, lines of measures; and histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asr.report.charts.style import (
    FILL,
    HUES,
    INK,
    NARROW_PX,
    PAPER,
    SOFT,
    Chart,
    colour,
    label_ends,
    new_chart,
    tell,
    ticks_at,
)

_STRONG = 0.6  # fraction of the range above which numbers are light on dark


@dataclass(frozen=True, slots=True)
class Line:
    """Values along the axis, NaN left out; ``opacity`` is 0 to 1, ``index`` selects the colour."""

    name: str
    values: Sequence[float]
    index: int = 0
    opacity: float = 1.0
    dashed: bool = False


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
) -> Chart:
    """Chart ``values`` from ``low`` (blank) to ``high`` (full); NaN is grey.

    ``numbers`` writes two digits into every cell; its title has the exact value in any case.
    """
    figure, axes = new_chart(min(NARROW_PX, 60 + cell_px * len(columns)), 60 + cell_px * len(rows))
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            known = not math.isnan(value)
            share = (
                min(max((value - low) / (high - low), 0.0), 1.0) if known and high > low else 0.0
            )
            (cell,) = axes.bar(
                column, 0.97, 0.97, row - 0.485, color=HUES[0] if known else SOFT,
                alpha=share if known else 0.2,
            )  # fmt: skip
            text = f"{value:.4f}" if known else "nothing measured"
            tell(cell, f"{row_title} {rows[row]}, {column_title} {columns[column]}: {text}", "cell")
            if numbers and known:
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center",
                    color=PAPER if share > _STRONG else INK, fontsize="small",
                )  # fmt: skip
    upright = max(map(len, columns)) * 8 > cell_px
    axes.set_xticks(range(len(columns)), columns, rotation=90 if upright else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(column_title)
    axes.set_ylabel(row_title)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    known_values = [value for line in values for value in line if not math.isnan(value)]
    extent = (
        f"from {min(known_values):.2f} to {max(known_values):.2f}"
        if known_values
        else "nothing measured"
    )
    return Chart(
        title=title, description=f"{row_title} by {column_title}, {extent}.", figure=figure
    )


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
) -> Chart:
    """Chart each line through its values at ``places``; ``points`` marks each value."""
    figure, axes = new_chart(height_px=320)
    ends = []
    for one in lines:
        known = [
            (place, value)
            for place, value in zip(places, one.values, strict=True)
            if not math.isnan(value)
        ]
        if not known:
            continue
        hue = SOFT if one.dashed else colour(one.index)
        (drawn,) = axes.plot(
            *zip(*known, strict=True), color=hue, alpha=one.opacity,
            linestyle="--" if one.dashed else "-",
        )  # fmt: skip
        tell(drawn, one.name, "curve")
        if points:
            for place, value in known:
                (mark,) = axes.plot(place, value, color=hue, marker="o", markersize=5)
                tell(mark, f"{one.name}, {place_title} {place:g}: {value:.4g}")
        ends.append((*known[-1], one.name))
    if ticks is not None:
        ticks_at(axes.xaxis, ticks)
    axes.set_ylim(low, high)
    label_ends(axes, ends)
    axes.set_xlabel(place_title)
    axes.set_title(value_title, loc="left", color=SOFT, fontsize="medium")
    names = ", ".join(one.name for one in lines)
    return Chart(title=title, description=f"{value_title}: {names}.", figure=figure)


def histogram(counts: Sequence[int], width: float, *, title: str, axis: str, what: str) -> Chart:
    """Chart bars; bar ``i`` counts ``what`` from ``i * width`` to ``(i + 1) * width``."""
    figure, axes = new_chart(height_px=260)
    for index, count in enumerate(counts):
        if count:
            start, end = index * width, (index + 1) * width
            (bar,) = axes.bar(
                (start + end) / 2, count, width, color=HUES[0], edgecolor=PAPER, linewidth=1
            )
            tell(bar, f"{start:g} to {end:g}: {count:,} {what}", "segment")
    axes.set_facecolor(FILL if not any(counts) else "none")
    axes.set_xlabel(axis)
    axes.set_title(what, loc="left", color=SOFT, fontsize="medium")
    most = max(range(len(counts)), key=counts.__getitem__)
    return Chart(
        title=title,
        description=f"{sum(counts):,} {what}, most of them from {most * width:g} to "
        f"{(most + 1) * width:g}.",
        figure=figure,
    )
