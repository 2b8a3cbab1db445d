"""Bar charts: time and arithmetic by part, training time, time of a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import FuncFormatter

from asr.encoder.parts import in_order
from asr.report.charts.style import (
    NARROW_PX,
    PAPER,
    PART_COLOURS,
    SOFT,
    WIDE_PX,
    Chart,
    colour,
    new_chart,
    shortened,
    tell,
)
from asr.report.points import TrainingStepPoint
from asr.report.record import RunRecord
from asr.report.rows import SeedGroup
from asr.report.table import count_text, duration_text, number_text, speedup_text

_ROW_PX = 26.0
_OTHERS = "other parts"
_WAITING = 0.45  # opacity
TRAINING_LOOKS: dict[str, dict[str, Any]] = {
    "computing": {"facecolor": SOFT},
    "waiting for data": {"facecolor": SOFT, "alpha": _WAITING},
}
_UNITS = (("s", 1.0), ("min", 60.0), ("h", 3600.0))


@dataclass(frozen=True, slots=True)
class BarPart:
    """A piece of a bar; ``text`` shows under the pointer."""

    value: float
    colour: str
    text: str
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: its name on the left, and text on the right of its segments."""

    name: str
    segments: tuple[BarPart, ...]
    text: str


def bar_chart(
    bars: Sequence[Bar],
    title: str,
    axis: str,
    *,
    width_px: float = NARROW_PX,
    tick: Callable[[float], str] = "{:g}".format,
) -> Chart:
    """Chart bars on one scale from zero; ``axis`` is its name and unit, ``tick`` formats ticks."""
    figure, axes = new_chart(width_px, 60 + _ROW_PX * len(bars))
    for row, bar in enumerate(bars):
        start = 0.0
        for segment in bar.segments:
            (patch,) = axes.barh(
                row,
                segment.value,
                left=start,
                height=0.66,
                color=segment.colour,
                alpha=segment.opacity,
                edgecolor=PAPER,
                linewidth=1,
            )
            tell(patch, f"{bar.name}: {segment.text}", "segment")
            start += segment.value
        axes.annotate(
            bar.text, (start, row), (6, 0), textcoords="offset points", va="center",
            annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(bars)), [shortened(bar.name) for bar in bars])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.set_xlabel(axis)
    described = "; ".join(
        f"{bar.name}: {bar.text} ({', '.join(segment.text for segment in bar.segments)})"
        for bar in bars
    )
    return Chart(title=title, description=f"{described}.", figure=figure)


@dataclass(frozen=True, slots=True)
class Stack:
    """Charts of an amount by part, one per length, and the parts with their colours."""

    charts: tuple[Chart, ...]
    legend: tuple[tuple[str, str], ...]


def breakdown_charts(groups: Sequence[SeedGroup]) -> Stack | None:
    """Chart milliseconds by part of the encoder; None if no parts were timed."""
    return _stacked(
        groups,
        lambda record: record.breakdown,
        "time inside operations, ms",
        text=lambda ms: f"{number_text(ms)} ms",
        order=in_order,
    )


def multiply_adds_charts(groups: Sequence[SeedGroup]) -> Stack | None:
    """Chart multiply-adds by part of the encoder; None without counts."""
    return _stacked(
        groups,
        lambda record: record.macs,
        "multiply-adds",
        text=count_text,
        tick=lambda count: count_text(count).replace(".00", ""),
        part_text=lambda part: part.replace(".", ": ").replace("_", " "),
    )


def training_chart(groups: Sequence[SeedGroup]) -> Chart | None:
    """Chart the training time of each run, with the time waiting for data; None without any."""
    trained = [
        (record.run, record.training, one)
        for one in groups
        for record in one.records
        if record.training is not None
    ]
    if not trained:
        return None
    longest_s = max(cost.train_s for _, cost, _ in trained)
    unit, unit_s = next((u for u in reversed(_UNITS) if longest_s >= 2 * u[1]), _UNITS[0])
    bars = []
    for name, cost, one in trained:
        waiting_s = cost.train_s * cost.data_wait_share
        text = (
            f"{duration_text(cost.train_s)}, {cost.num_steps:,} steps, "
            f"{cost.num_epochs:.3g} epochs{', interrupted' if cost.interrupted else ''}"
        )
        waiting = f"waiting for data {duration_text(waiting_s)} ({cost.data_wait_share:.1%})"
        hue = colour(one.index)
        computing = BarPart(
            (cost.train_s - waiting_s) / unit_s, hue, f"{duration_text(cost.cpu_s)} of CPU time"
        )
        bars.append(
            Bar(name, (computing, BarPart(waiting_s / unit_s, hue, waiting, _WAITING)), text)
        )
    return bar_chart(bars, "Training time", f"time on the clock, {unit}", width_px=WIDE_PX * 0.7)


def training_step_charts(groups: Sequence[SeedGroup]) -> Iterator[Chart]:
    """Return a chart for each length of utterance, with a bar for each series."""
    batches: dict[float, list[tuple[SeedGroup, TrainingStepPoint]]] = {}
    for one in groups:
        for point in one.records[0].training_step:
            batches.setdefault(point.length_s, []).append((one, point))
    for _, timed in sorted(batches.items()):
        sizes = dict.fromkeys(
            f"{point.batch_size} x {point.length_s:g} s in {point.dtype}" for _, point in timed
        )
        bars = [
            Bar(
                one.name,
                (BarPart(point.median_ms / 1000, colour(one.index), _step_text(point)),),
                _step_text(point),
            )
            for one, point in timed
        ]
        yield bar_chart(
            bars, f"Batch of {', '.join(sizes)}", "time of a step, s", width_px=WIDE_PX * 0.6
        )


def _step_text(point: TrainingStepPoint) -> str:
    beside = point.baselines | point.peers
    speedups = [f"{speedup_text(timed.speedup)} vs {name}" for name, timed in beside.items()]
    return ", ".join([f"{number_text(point.median_ms / 1000)} s", *speedups])


def _stacked(
    groups: Sequence[SeedGroup],
    amounts: Callable[[RunRecord], Mapping[str, Mapping[str, float]]],
    axis: str,
    *,
    text: Callable[[float], str],
    tick: Callable[[float], str] = "{:g}".format,
    part_text: Callable[[str], str] = str,
    order: Callable[[Iterable[str]], list[str]] = list,
) -> Stack | None:
    """Return stacked bars; ``amounts`` of a record are by length key, then by part."""
    parts = _parts(groups, amounts, order)
    if not parts:
        return None
    lengths = sorted({key for one in groups for key in amounts(one.records[0])}, key=float)
    charts = []
    for length in lengths:
        bars = []
        for one in groups:
            found = amounts(one.records[0]).get(length)
            if found is None:
                continue
            merged = dict.fromkeys(parts, 0.0)
            for part, amount in found.items():
                merged[part if part in merged else _OTHERS] += amount
            total = sum(merged.values())
            segments = tuple(
                BarPart(
                    amount,
                    PART_COLOURS[parts.index(part)],
                    f"{part_text(part)} {text(amount)} ({amount / total:.0%})",
                )
                for part, amount in merged.items()
                if amount
            )
            bars.append(Bar(one.name, segments, text(total)))
        charts.append(bar_chart(bars, f"{length} s of audio", axis, tick=tick))
    legend = tuple((PART_COLOURS[index], part_text(part)) for index, part in enumerate(parts))
    return Stack(tuple(charts), legend)


def _parts(
    groups: Sequence[SeedGroup],
    amounts: Callable[[RunRecord], Mapping[str, Mapping[str, float]]],
    order: Callable[[Iterable[str]], list[str]],
) -> list[str]:
    """Return all parts in order; if there are more than colours, the smallest are merged."""
    sizes: dict[str, float] = {}
    for one in groups:
        for found in amounts(one.records[0]).values():
            for part, amount in found.items():
                sizes[part] = max(sizes.get(part, 0.0), amount)
    parts = order(sizes)
    if len(parts) <= len(PART_COLOURS):
        return parts
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[: len(PART_COLOURS) - 1]
    return [*(part for part in parts if part in largest), _OTHERS]
