"""An amount by part, stacked: one chart for each length, one bar for each series, one legend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from asr.report.html.bars import Bar, Segment, bar_chart
from asr.report.html.figure import figure, grid, legend, sign
from asr.report.html.markup import Markup, element, joined
from asr.report.html.series import Series
from asr.report.record import RunRecord

NUM_PARTS = 10  # colours of style.css; smaller parts beyond them are added up
_OTHERS = "other parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacked:
    """What is stacked, and in which words.

    ``amounts`` of a record are by length key, then by part. ``kind`` is the class of the figures;
    ``text`` writes an amount, ``tick`` one on the axis, ``part_text`` a part; ``order`` sorts them.
    """

    amounts: Callable[[RunRecord], Mapping[str, Mapping[str, float]]]
    title: str
    axis: str
    kind: str
    text: Callable[[float], str]
    tick: Callable[[float], str]
    part_text: Callable[[str], str] = str
    order: Callable[[Iterable[str]], list[str]] = list


def stacked_charts(groups: Sequence[Series], stacked: Stacked) -> Markup | None:
    """A chart for each length, with one legend; None without amounts."""
    parts = _parts(groups, stacked)
    if not parts:
        return None
    lengths = sorted({key for one in groups for key in _amounts(one, stacked)}, key=float)
    charts = grid(_chart(groups, stacked, length, parts) for length in lengths)
    return joined([_legend(parts, stacked), charts])


def _amounts(series: Series, stacked: Stacked) -> Mapping[str, Mapping[str, float]]:
    return stacked.amounts(series.records[0])


def _parts(groups: Sequence[Series], stacked: Stacked) -> list[str]:
    """All parts in order; where there are too many, the smallest are left out."""
    sizes: dict[str, float] = {}
    for one in groups:
        for amounts in _amounts(one, stacked).values():
            for part, amount in amounts.items():
                sizes[part] = max(sizes.get(part, 0), amount)
    parts = stacked.order(sizes)
    if len(parts) <= NUM_PARTS:
        return parts
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[: NUM_PARTS - 1]
    return [*(part for part in parts if part in largest), _OTHERS]


def _chart(groups: Sequence[Series], stacked: Stacked, length: str, parts: Sequence[str]) -> Markup:
    bars = [
        _bar(one.name, _amounts(one, stacked)[length], parts, stacked)
        for one in groups
        if length in _amounts(one, stacked)
    ]
    title = f"{stacked.title} of {length} s"
    chart = bar_chart(bars, title=title, axis=stacked.axis, width=540, text=stacked.tick)
    return figure(f"{length} s of audio", chart, stacked.kind)


def _bar(name: str, amounts: Mapping[str, float], parts: Sequence[str], stacked: Stacked) -> Bar:
    merged = dict.fromkeys(parts, 0.0)
    for part, amount in amounts.items():
        merged[part if part in merged else _OTHERS] += amount
    total = sum(amounts.values())
    segments = tuple(
        Segment(
            amount,
            f"part{parts.index(part)}",
            f"{stacked.part_text(part)}, {stacked.text(amount)} ({amount / total:.0%})",
        )
        for part, amount in merged.items()
        if amount
    )
    return Bar(name, segments, stacked.text(total))


def _legend(parts: Sequence[str], stacked: Stacked) -> Markup:
    return legend(
        (
            sign(element("rect", x=4, y=1, width=16, height=12, class_=f"segment part{index}")),
            stacked.part_text(part),
        )
        for index, part in enumerate(parts)
    )
