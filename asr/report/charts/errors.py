"""Charts of word error rates: against latency, and differences between schedules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from asr.report.charts.style import (
    INK,
    PAPER,
    SOFT,
    Chart,
    colour,
    fit_axis,
    label_points,
    marker,
    new_chart,
    shortened,
    tell,
)
from asr.report.hypotheses import WerDifference
from asr.report.points import LatencyPoint
from asr.report.record import RunRecord, SplitWer
from asr.report.rows import SeedGroup, latency_points
from asr.report.table import number_text, percent_text


@dataclass(frozen=True, slots=True)
class TradeOff:
    """A run that has both WER and latency."""

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


def trade_off_chart(groups: Sequence[SeedGroup], split: str, length: str) -> Chart | None:
    """Chart one point with error bars per run that has both figures; None without such runs.

    The front goes through the means of the series, so that no run wins by a lucky seed.
    """
    points = {one.index: list(_points(one, split, length)) for one in groups}
    groups = [one for one in groups if points[one.index]]
    shown = [point for one in groups for point in points[one.index]]
    if not shown:
        return None
    figure, axes = new_chart()
    times = [time for p in shown for time in (p.latency.median_ms, p.latency.p90_ms)]
    rates = [rate for p in shown for rate in (p.wer.low, p.wer.wer, p.wer.high)]
    fit_axis(axes.xaxis, times)
    fit_axis(axes.yaxis, rates)
    axes.set_xlabel(f"encoder latency for {length} s of audio, ms")
    axes.set_title(
        f"{shown[0].wer.rate}, % of {shown[0].wer.counted} of {split}",
        loc="left",
        color=SOFT,
        fontsize="medium",
    )
    means = [_mean(points[one.index]) for one in groups]
    best = pareto_front(means)
    if len(best) > 1:
        axes.plot(*zip(*best, strict=True), color=SOFT, linestyle=(0, (5, 4)), linewidth=1.25)
    for one, mean in zip(groups, means, strict=True):
        hue = colour(one.index)
        for point in points[one.index]:
            x, y = point.latency.median_ms, point.wer.wer
            axes.errorbar(
                x,
                y,
                xerr=[[0.0], [max(0.0, point.latency.p90_ms - x)]],
                yerr=[[y - point.wer.low], [point.wer.high - y]],
                color=hue,
                alpha=0.7,
                linewidth=1.25,
                capsize=3,
            )
            (mark,) = axes.plot(
                x, y, color=hue, marker=marker(one.index), markersize=9,
                markeredgecolor=PAPER, linestyle="none",
            )  # fmt: skip
            tell(mark, str(point))
        if len(points[one.index]) > 1:
            (cross,) = axes.plot(*mean, color=hue, marker="+", markersize=16, linestyle="none")
            tell(cross, f"{one.name}: mean of {len(points[one.index])} seeds", "mean")
    label_points(
        axes, [(*mean, shortened(one.name)) for one, mean in zip(groups, means, strict=True)]
    )
    names = [one.name for one, mean in zip(groups, means, strict=True) if mean in best]
    return Chart(
        title=f"{split}, {length} s of audio",
        description=f"{'; '.join(map(str, shown))}. Pareto front: {', '.join(names)}.",
        figure=figure,
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (x, y) for which no other is lower in one and as low in the other."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def difference_charts(
    differences: Sequence[WerDifference], groups: Sequence[SeedGroup]
) -> Iterator[Chart]:
    """Return a chart per split and baseline, a row for each difference; findings are filled."""
    hues = {one.name: colour(one.index) for one in groups}
    for split, baseline in dict.fromkeys((one.split, one.baseline) for one in differences):
        rows = [one for one in differences if (one.split, one.baseline) == (split, baseline)]
        figure, axes = new_chart(height_px=60 + 26 * len(rows))
        axes.axvline(0.0, color=INK, linewidth=1)
        for place, row in enumerate(rows):
            hue = hues.get(row.run, colour(0))
            axes.errorbar(
                row.difference,
                place,
                xerr=[[row.difference - row.low], [row.high - row.difference]],
                color=hue,
                capsize=3,
                linewidth=1.25,
            )
            (mark,) = axes.plot(
                row.difference, place, color=hue, marker="s", markersize=9, linestyle="none",
                markerfacecolor=hue if row.is_finding else PAPER,
            )  # fmt: skip
            tell(mark, str(row), "difference")
            axes.annotate(
                f"{row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}]",
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                annotation_clip=False,
            )
        axes.set_yticks(range(len(rows)), [shortened(row.run) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.07)
        axes.set_xlabel(f"difference, {rows[0].rate} points")
        yield Chart(
            title=f"{split}: {rows[0].rate} minus that of {baseline}",
            description=f"{'; '.join(map(str, rows))}.",
            figure=figure,
        )


def _points(series: SeedGroup, split: str, length: str) -> Iterator[TradeOff]:
    for record in series.records:
        latency, wer = latency_points(record).get(length), record.wer.get(split)
        if latency is not None and wer is not None and not math.isnan(wer.wer):
            yield TradeOff(record, latency, wer)


def _mean(points: Sequence[TradeOff]) -> tuple[float, float]:
    return fmean(p.latency.median_ms for p in points), fmean(p.wer.wer for p in points)
