"""Paired differences in WER with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asr.report.html.axis import horizontal_axis, line, words
from asr.report.html.figure import drawing, figure
from asr.report.html.label import Box, shortened, text_width
from asr.report.html.markup import Markup, element
from asr.report.html.scale import Scale
from asr.report.html.series import Series
from asr.report.hypotheses import WerDifference

_WIDTH = 540.0
_LABEL_PX = 150.0
_PITCH = 26.0


def forest_charts(
    differences: Sequence[WerDifference], groups: Sequence[Series]
) -> Iterator[Markup]:
    """A chart for each split and baseline, a row for each difference."""
    keys = dict.fromkeys((difference.split, difference.baseline) for difference in differences)
    hues = {one.name: one.hue for one in groups}
    for split, baseline in keys:
        rows = [d for d in differences if (d.split, d.baseline) == (split, baseline)]
        yield _chart(rows, split, baseline, hues)


def _chart(
    rows: Sequence[WerDifference], split: str, baseline: str, hues: dict[str, str]
) -> Markup:
    names = [shortened(row.run, _LABEL_PX) for row in rows]
    texts = [f"{row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}]" for row in rows]
    left = max(map(text_width, names)) + 12
    area = Box(left, 6, _WIDTH - max(map(text_width, texts)) - 14, 12 + _PITCH * len(rows))
    x = _scale(rows, area)
    shapes = []
    for number, (row, name, text) in enumerate(zip(rows, names, texts, strict=True)):
        y = area.top + 4 + _PITCH * (number + 0.5)
        middle = x(row.difference)
        shapes += [
            words(name, left - 8, y + 4, "name", anchor="end"),
            element(
                "g",
                element("title", str(row)),
                line(x(row.low), y, x(row.high), y, "bar"),
                line(x(row.low), y - 4, x(row.low), y + 4, "bar"),
                line(x(row.high), y - 4, x(row.high), y + 4, "bar"),
                element(
                    "rect", x=middle - 5, y=y - 5, width=10, height=10,
                    class_="difference" if row.is_finding else "difference open",
                ),
                class_=hues.get(row.run, "hue0"),
            ),
            words(text, area.right + 8, y + 4, "value"),
        ]  # fmt: skip
    title = f"{split}: {rows[0].rate} minus that of {baseline}"
    chart = drawing(
        _WIDTH,
        area.bottom + 48,
        title,
        f"{'; '.join(map(str, rows))}.",
        horizontal_axis(x, area, f"difference, {rows[0].rate} points"),
        line(x(0), area.top, x(0), area.bottom, "zero"),
        *shapes,
    )
    return figure(title, chart, "differences")


def _scale(rows: Sequence[WerDifference], area: Box) -> Scale:
    """Zero is always on it."""
    low = min(0.0, *(row.low for row in rows))
    high = max(0.0, *(row.high for row in rows))
    room = (high - low) * 0.07 or 1.0
    return Scale(low - room, high + room, area.left, area.right)
