"""Word error rate against latency, with the front of what no other schedule beats in both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from asr.report.html.axis import horizontal_axis, line, tick_room, vertical_axis, words
from asr.report.html.figure import drawing, figure
from asr.report.html.label import Box, place_beside, shortened
from asr.report.html.markup import Markup, element, joined
from asr.report.html.scale import Scale, fitted
from asr.report.html.series import Series
from asr.report.record import LatencyPoint, RunRecord, SplitWer
from asr.report.rows import latency_points
from asr.report.table import number_text, percent_text

_WIDTH, _HEIGHT = 540.0, 390.0
_LABEL_PX, _SHORT_PX = 190.0, 100.0


@dataclass(frozen=True, slots=True)
class TradeOff:
    """A row of the table that has both: where it lies, and its error bars."""

    record: RunRecord
    latency: LatencyPoint
    wer: SplitWer

    def __str__(self) -> str:
        return (
            f"{self.record.run}: {self.wer.rate} {percent_text(self.wer.wer)} % "
            f"[{percent_text(self.wer.low)}, {percent_text(self.wer.high)}], "
            f"{number_text(self.latency.median_ms)} ms "
            f"(p90 {number_text(self.latency.p90_ms)} ms)"
        )


def trade_off_chart(groups: Sequence[Series], split: str, length: str) -> Markup | None:
    """One point per run with both figures, and error bars; None when there is no such run.

    The front goes through the means of the series, so that no run wins by a lucky seed.
    """
    points = {one.index: list(_points(one, split, length)) for one in groups}
    groups = [one for one in groups if points[one.index]]
    shown = [point for one in groups for point in points[one.index]]
    if not shown:
        return None
    x, y, area = _scales(shown)
    means = [_mean(points[one.index]) for one in groups]
    best = pareto_front(means)
    names = [one.name for one, mean in zip(groups, means, strict=True) if mean in best]
    rate, counted = shown[0].wer.rate, shown[0].wer.counted
    title = f"{rate} against latency: {split}, {length} s of audio"
    chart = drawing(
        _WIDTH,
        _HEIGHT,
        title,
        f"{'; '.join(map(str, shown))}. Pareto front: {', '.join(names)}.",
        horizontal_axis(x, area, f"encoder latency for {length} s of audio, ms"),
        vertical_axis(y, area, f"{rate}, % of {counted} of {split}"),
        _front(best, x, y) if len(best) > 1 else "",
        *(_bars(one, points[one.index], x, y) for one in groups),
        *(_mean_sign(one, len(points[one.index]), mean, x, y)
          for one, mean in zip(groups, means, strict=True) if len(points[one.index]) > 1),
        *(one.marker(x(p.latency.median_ms), y(p.wer.wer), str(p))
          for one in groups for p in points[one.index]),
        *_labels(groups, means, shown, x, y, area),
    )  # fmt: skip
    return figure(f"{split}, {length} s of audio", chart, "trade-off")


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (x, y) to which no other is lower in one and at most equal in the other."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def _points(series: Series, split: str, length: str) -> Iterator[TradeOff]:
    for record in series.records:
        latency, wer = latency_points(record).get(length), record.wer.get(split)
        if latency is not None and wer is not None and not math.isnan(wer.wer):
            yield TradeOff(record, latency, wer)


def _scales(shown: Sequence[TradeOff]) -> tuple[Scale, Scale, Box]:
    rates = [rate for p in shown for rate in (p.wer.low, p.wer.wer, p.wer.high)]
    times = [time for p in shown for time in (p.latency.median_ms, p.latency.p90_ms)]
    y = fitted(rates, _HEIGHT - 52, 34)
    area = Box(tick_room(y), 34, _WIDTH - 14, _HEIGHT - 52)
    return fitted(times, area.left, area.right), y, area


def _mean(points: Sequence[TradeOff]) -> tuple[float, float]:
    return fmean(p.latency.median_ms for p in points), fmean(p.wer.wer for p in points)


def _front(best: Sequence[tuple[float, float]], x: Scale, y: Scale) -> Markup:
    path = "L".join(f"{x(time_ms):.2f} {y(rate):.2f}" for time_ms, rate in best)
    return element("path", d=f"M{path}", class_="front")


def _bars(series: Series, points: Sequence[TradeOff], x: Scale, y: Scale) -> Markup:
    lines = []
    for point in points:
        middle_x, middle_y = x(point.latency.median_ms), y(point.wer.wer)
        low, high = y(point.wer.low), y(point.wer.high)
        lines += [
            line(middle_x, low, middle_x, high, "bar"),
            line(middle_x - 4, low, middle_x + 4, low, "bar"),
            line(middle_x - 4, high, middle_x + 4, high, "bar"),
            line(middle_x, middle_y, x(point.latency.p90_ms), middle_y, "bar"),
        ]
    return element("g", *lines, class_=series.hue)


def _mean_sign(
    series: Series, num_seeds: int, mean: tuple[float, float], x: Scale, y: Scale
) -> Markup:
    middle_x, middle_y = x(mean[0]), y(mean[1])
    cross = joined(
        [
            element("title", f"{series.name}: mean of {num_seeds} seeds"),
            line(middle_x - 11, middle_y, middle_x + 11, middle_y, "mean"),
            line(middle_x, middle_y - 11, middle_x, middle_y + 11, "mean"),
        ]
    )
    return element("g", cross, class_=series.hue)


def _labels(
    groups: Sequence[Series],
    means: Sequence[tuple[float, float]],
    shown: Sequence[TradeOff],
    x: Scale,
    y: Scale,
    area: Box,
) -> Iterator[Markup]:
    """Names beside the points where there is room, clear of error bars; the legend has all."""
    taken = []
    for point in shown:
        middle_x, middle_y = x(point.latency.median_ms), y(point.wer.wer)
        taken += [
            Box(middle_x - 7, middle_y - 7, middle_x + 7, middle_y + 7),
            Box(middle_x - 4, y(point.wer.high), middle_x + 4, y(point.wer.low)),
            Box(middle_x, middle_y - 1, x(point.latency.p90_ms), middle_y + 1),
        ]
    for series, (time_ms, rate) in zip(groups, means, strict=True):
        for max_px in (_LABEL_PX, _SHORT_PX):
            text = shortened(series.name, max_px)
            place = place_beside(x(time_ms), y(rate), text, taken, area)
            if place:
                taken.append(place[2])
                yield words(text, place[0], place[1], "name")
                break
