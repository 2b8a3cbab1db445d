"""Line charts: latency, speed-up, throughput, and learning curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from asr.report.charts.style import (
    INK,
    LINE_PX,
    NARROW_PX,
    SOFT,
    WIDE_PX,
    Chart,
    colour,
    dash,
    fit_axis,
    label_ends,
    marker,
    new_chart,
    shortened,
    tell,
    ticks_at,
)
from asr.report.points import BaselineTiming, LatencyPoint
from asr.report.record import LearningPoint
from asr.report.rows import BASELINE_NAMES, SeedGroup, latency_points
from asr.report.table import number_text, speedup_text

MOST_TICKS = 12
"""Lines with more places have a mark only at their end."""
_Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through (place, value); ``series`` is None for a baseline."""

    name: str
    points: _Points
    series: SeedGroup | None = None
    baseline: str = ""


def latency_chart(groups: Sequence[SeedGroup]) -> Chart | None:
    """Chart the median latency of every series and its baselines; None if nothing was timed."""
    return curve_chart(
        [*_baseline_curves(groups), *_own_curves(groups)],
        "Encoder latency over the length of the audio",
        "encoder latency, ms",
        width_px=WIDE_PX,
        text=lambda value: f"{number_text(value)} ms",
    )


def speedup_chart(groups: Sequence[SeedGroup], baseline: str) -> Chart | None:
    """Chart the speed-up of every series over ``baseline``; None if it was not timed."""
    return _speedups(groups, f"none {baseline}", lambda point: point.baselines.get(baseline))


def peer_chart(groups: Sequence[SeedGroup], peer: str) -> Chart | None:
    """Chart the speed-up of every series over another library's encoder; None if not timed."""
    return _speedups(groups, peer, lambda point: point.peers.get(peer))


def scaling_charts(groups: Sequence[SeedGroup]) -> Iterator[Chart]:
    """Chart throughput over CPU threads and over the batch size, two charts per dtype."""
    points = [point for one in groups for point in one.records[0].scaling]
    for dtype in dict.fromkeys(point.dtype for point in points):
        of_dtype = [point for point in points if point.dtype == dtype]
        threads = min(point.num_threads for point in of_dtype)
        batch = min(point.batch_size for point in of_dtype)
        yield from _throughput(
            groups,
            {id(p): p.num_threads for p in of_dtype if p.batch_size == batch},
            f"Throughput over CPU threads, batch size {batch}, {dtype}",
            "CPU threads",
        )
        yield from _throughput(
            groups,
            {id(p): p.batch_size for p in of_dtype if p.num_threads == threads},
            f"Throughput over the batch size, CPU threads {threads}, {dtype}",
            "batch size",
        )


def learning_charts(groups: Sequence[SeedGroup]) -> Iterator[Chart]:
    """Chart loss and dev WER over the steps, if the records have them; a line for every run."""
    kinds: tuple[tuple[str, str, Callable[[LearningPoint], float | None]], ...] = (
        ("Training loss", "loss", lambda point: point.train_loss),
        ("WER of the validations", "WER, % of words of dev", lambda point: point.dev_wer),
    )
    for title, axis, value in kinds:
        curves = []
        for one in groups:
            for record in one.records:
                points = tuple(
                    (float(point.step), number)
                    for point in record.learning
                    if (number := value(point)) is not None
                )
                if points:
                    curves.append(Curve(record.run, points, one))
        chart = curve_chart(
            curves,
            title,
            axis,
            width_px=NARROW_PX,
            text=number_text,
            over="steps",
            place_text="step {:,.0f}".format,
        )
        if chart:
            yield chart


def curve_chart(
    curves: Sequence[Curve],
    title: str,
    axis: str,
    *,
    width_px: float,
    text: Callable[[float], str],
    reference: float | None = None,
    over: str = "length of the audio, s",
    place_text: Callable[[float], str] = "{:g} s".format,
) -> Chart | None:
    """Chart lines over what ``over`` names; None without lines.

    The ticks are the measured places, unless there are many. ``text`` formats a value,
    ``place_text`` its place; ``reference`` is a level to mark.
    """
    if not curves:
        return None
    ends = list(_named_ends(curves))
    figure, axes = new_chart(width_px, max(380.0, LINE_PX * len(ends) + 100))
    places = sorted({place for curve in curves for place, _ in curve.points})
    values = [value for curve in curves for _, value in curve.points]
    fit_axis(axes.xaxis, places)
    if len(places) <= MOST_TICKS:
        ticks_at(axes.xaxis, places)
    fit_axis(axes.yaxis, [*values, *([] if reference is None else [reference])])
    axes.set_xlabel(over)
    axes.set_title(axis, loc="left", color=SOFT, fontsize="medium")
    if reference is not None:
        axes.axhline(reference, color=INK, linewidth=1)
    for curve in curves:
        index = curve.series.index if curve.series else None
        hue = SOFT if index is None else colour(index)
        explicit = curve.baseline == "explicit"
        kind = "baseline" if index is None else "point"
        style = ((0, (6, 4)) if explicit else "-") if index is None else dash(index)
        (line,) = axes.plot(*zip(*curve.points, strict=True), color=hue, linestyle=style)
        tell(line, curve.name, "curve")
        marked = curve.points if len(curve.points) <= MOST_TICKS else curve.points[-1:]
        for place, value in marked:
            (mark,) = axes.plot(
                place,
                value,
                color=hue,
                marker="o" if index is None else marker(index),
                markersize=4 if index is None else 8,
            )
            tell(mark, f"{curve.name}: {place_text(place)}, {text(value)}", kind)
    label_ends(axes, ends)
    described = "; ".join(
        f"{c.name}: " + ", ".join(f"{text(value)} at {place_text(at)}" for at, value in c.points)
        for c in curves
    )
    return Chart(title=title, description=f"{described}.", figure=figure)


def _named_ends(curves: Sequence[Curve]) -> Iterator[tuple[float, float, str]]:
    """Return the end and the name of each curve, or of the middle one of a series' seeds."""
    by_series: dict[object, list[Curve]] = {}
    for curve in curves:
        key = curve.series.index if curve.series else curve.name
        by_series.setdefault(key, []).append(curve)
    for same in by_series.values():
        middle = sorted(same, key=lambda curve: curve.points[-1][1])[len(same) // 2]
        name = middle.series.name if middle.series and len(same) > 1 else middle.name
        yield *middle.points[-1], shortened(name)


def _speedups(
    groups: Sequence[SeedGroup], name: str, beside: Callable[[LatencyPoint], BaselineTiming | None]
) -> Chart | None:
    curves = []
    for one in groups:
        points = tuple(
            (point.length_s, timing.speedup)
            for point in latency_points(one.records[0]).values()
            if (timing := beside(point))
        )
        if points and any(speedup != 1.0 for _, speedup in points):  # not the baseline itself
            curves.append(Curve(one.name, points, one))
    return curve_chart(
        curves,
        f"Speed-up over {name}",
        f"times as fast as {name}",
        width_px=NARROW_PX,
        text=speedup_text,
        reference=1.0,
    )


def _own_curves(groups: Sequence[SeedGroup]) -> list[Curve]:
    """Return one curve per series; seeds are timed as one encoder, or else drawn one by one."""
    curves = []
    for one in groups:
        distinct = dict.fromkeys(
            tuple((p.length_s, p.median_ms) for p in latency_points(record).values())
            for record in one.records
        )
        curves += [Curve(one.name, points, one) for points in distinct if points]
    return curves


def _baseline_curves(groups: Sequence[SeedGroup]) -> list[Curve]:
    """Return each baseline once, or once per series if their encoders differ otherwise."""
    curves = []
    for baseline in BASELINE_NAMES:
        users: dict[_Points, str] = {}
        for one in groups:
            points = tuple(
                (point.length_s, point.baselines[baseline].median_ms)
                for point in latency_points(one.records[0]).values()
                if baseline in point.baselines
            )
            if points:
                users.setdefault(points, one.name)
        for points, name in users.items():
            text = f"none {baseline}" if len(users) == 1 else f"none {baseline} of {name}"
            curves.append(Curve(text, points, baseline=baseline))
    return curves


def _throughput(
    groups: Sequence[SeedGroup], places: Mapping[int, int], title: str, axis: str
) -> Iterator[Chart]:
    """Return throughput at ``places``, given by the points' ids; other points are left out."""
    curves = []
    for one in groups:
        points = tuple(
            sorted(
                (float(x), point.audio_s_per_s)
                for point in one.records[0].scaling
                if (x := places.get(id(point))) is not None
            )
        )
        if len(points) > 1:
            curves.append(Curve(one.name, points, one))
    chart = curve_chart(
        curves,
        title,
        "seconds of audio per second",
        width_px=NARROW_PX,
        text=lambda value: f"{number_text(value)} s/s",
        over=axis,
        place_text=lambda x: f"{axis} {x:g}",
    )
    if chart:
        yield chart
