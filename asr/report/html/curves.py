"""Latency, and the speed-up over the encoder without reuse, over the length of the audio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asr.report.html.axis import horizontal_axis, line, tick_room, vertical_axis, words
from asr.report.html.figure import drawing, figure
from asr.report.html.label import LINE_PX, Box, shortened, spread, text_width
from asr.report.html.markup import Markup, element, joined
from asr.report.html.scale import fitted
from asr.report.html.series import Series
from asr.report.record import BaselineTiming, LatencyPoint
from asr.report.rows import BASELINES, latency_points
from asr.report.table import number_text, speedup_text

_WIDE, _NARROW = 1110.0, 540.0  # pixels
_MOST_TICKS = 12  # places with a tick and a mark each
_Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through (place, value); ``series`` is None for a baseline."""

    name: str
    points: _Points
    series: Series | None = None
    baseline: str = ""


def latency_chart(groups: Sequence[Series]) -> Markup | None:
    """Median latency of every series and of its baselines; None when nothing was timed."""
    curves = [*_baseline_curves(groups), *_own_curves(groups)]
    return curve_chart(
        curves,
        "Encoder latency over the length of the audio",
        "encoder latency, ms",
        "latency",
        width=_WIDE,
        text=lambda value: f"{number_text(value)} ms",
    )


def speedup_chart(groups: Sequence[Series], baseline: str) -> Markup | None:
    """Speed-up of every series over ``baseline``; None when nothing was timed beside it."""
    return _speedup_chart(groups, f"none {baseline}", lambda point: point.baselines.get(baseline))


def peer_chart(groups: Sequence[Series], peer: str) -> Markup | None:
    """Speed-up of every series over another library's encoder; None when it was not timed."""
    return _speedup_chart(groups, peer, lambda point: point.peers.get(peer))


def _speedup_chart(
    groups: Sequence[Series], name: str, beside: Callable[[LatencyPoint], BaselineTiming | None]
) -> Markup | None:
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
        "speed-up",
        width=_NARROW,
        text=speedup_text,
        reference=1.0,
    )


def _own_curves(groups: Sequence[Series]) -> list[Curve]:
    """One curve for each series; seeds are timed as one encoder, or else drawn one by one."""
    curves = []
    for one in groups:
        distinct = dict.fromkeys(
            tuple((p.length_s, p.median_ms) for p in latency_points(record).values())
            for record in one.records
        )
        curves += [Curve(one.name, points, one) for points in distinct if points]
    return curves


def _baseline_curves(groups: Sequence[Series]) -> list[Curve]:
    """Each baseline once, or once for every series where their encoders differ otherwise."""
    curves = []
    for baseline in BASELINES:
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


def curve_chart(
    curves: Sequence[Curve],
    title: str,
    axis: str,
    kind: str,
    *,
    width: float,
    text: Callable[[float], str],
    reference: float | None = None,
    over: str = "length of the audio, s",
    place_text: Callable[[float], str] = lambda length_s: f"{length_s:g} s",
) -> Markup | None:
    """Lines over what ``over`` names, whose ticks are the places measured; None without lines.

    ``text`` writes a value, ``place_text`` where it was measured; ``reference`` is a level to mark.
    Lines of many places are marked at their end alone.
    """
    if not curves:
        return None
    names = [shortened(curve.name, width / 4) for curve in curves]
    room = 30 + max(map(text_width, names))
    height = max(400.0, LINE_PX * len(curves) + 100)
    values = [value for curve in curves for _, value in curve.points]
    measured = sorted({place for curve in curves for place, _ in curve.points})
    y = fitted([*values, *([reference] if reference else [])], height - 52, 34)
    area = Box(tick_room(y), 34, width - room, height - 52)
    x = fitted(measured, area.left, area.right)
    ends = [y(curve.points[-1][1]) for curve in curves]
    places = spread(ends, LINE_PX, area.top + 6, area.bottom - 2)
    shapes = []
    for curve, name, end, place in zip(curves, names, ends, places, strict=True):
        path = "L".join(f"{x(at):.2f} {y(value):.2f}" for at, value in curve.points)
        hue = curve.series.hue if curve.series else f"baseline {curve.baseline}"
        last = x(curve.points[-1][0])
        shapes += [
            element("path", element("title", curve.name), d=f"M{path}", class_=f"curve {hue}"),
            *(
                _mark(curve, x(at), y(value), f"{curve.name}: {place_text(at)}, {text(value)}")
                for at, value in curve.points
                if len(curve.points) <= _MOST_TICKS or at == curve.points[-1][0]
            ),
            line(last + 7, end, area.right + 14, place, "leader"),
            words(name, area.right + 18, place + 4, "name"),
        ]
    described = "; ".join(
        f"{c.name}: " + ", ".join(f"{text(value)} at {place_text(at)}" for at, value in c.points)
        for c in curves
    )
    chart = drawing(
        width,
        height,
        title,
        f"{described}.",
        horizontal_axis(x, area, over, ticks=measured if len(measured) <= _MOST_TICKS else None),
        vertical_axis(y, area, axis),
        line(area.left, y(reference), area.right, y(reference), "axis") if reference else "",
        joined(shapes),
    )
    return figure(title, chart, kind)


def _mark(curve: Curve, x: float, y: float, title: str) -> Markup:
    if curve.series:
        return curve.series.marker(x, y, title)
    return element("circle", element("title", title), cx=x, cy=y, r=2.5, class_="baseline dot")
