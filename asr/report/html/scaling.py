"""Audio encoded in a second over CPU threads and over the batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from asr.report.html.axis import plain
from asr.report.html.curves import Curve, curve_chart
from asr.report.html.figure import grid
from asr.report.html.markup import Markup
from asr.report.html.series import Series
from asr.report.record import ScalingPoint
from asr.report.table import number_text


def scaling_charts(groups: Sequence[Series]) -> Markup | None:
    """Two charts for each dtype, each at the fewest of the other; None without two points."""
    dtypes = dict.fromkeys(point.dtype for one in groups for point in one.records[0].scaling)
    charts = [chart for dtype in dtypes for chart in _charts(groups, dtype)]
    return grid(charts) if charts else None


def _charts(groups: Sequence[Series], dtype: str) -> Iterator[Markup]:
    points = [p for one in groups for p in one.records[0].scaling if p.dtype == dtype]
    num_threads = min(point.num_threads for point in points)
    batch_size = min(point.batch_size for point in points)
    yield from _chart(
        groups,
        lambda p: p.num_threads if (p.dtype, p.batch_size) == (dtype, batch_size) else None,
        f"Throughput over CPU threads, batch size {batch_size}, {dtype}",
        "CPU threads",
    )
    yield from _chart(
        groups,
        lambda p: p.batch_size if (p.dtype, p.num_threads) == (dtype, num_threads) else None,
        f"Throughput over the batch size, CPU threads {num_threads}, {dtype}",
        "batch size",
    )


def _chart(
    groups: Sequence[Series], place: Callable[[ScalingPoint], int | None], title: str, axis: str
) -> Iterator[Markup]:
    curves = []
    for one in groups:
        points = tuple(
            sorted(
                (float(x), point.audio_s_per_s)
                for point in one.records[0].scaling
                if (x := place(point)) is not None
            )
        )
        if len(points) > 1:
            curves.append(Curve(one.name, points, one))
    chart = curve_chart(
        curves,
        title,
        "seconds of audio per second",
        "scaling",
        width=540,
        text=lambda value: f"{number_text(value)} s/s",
        over=axis,
        place_text=lambda x: f"{axis} {plain(x)}",
    )
    if chart:
        yield chart
