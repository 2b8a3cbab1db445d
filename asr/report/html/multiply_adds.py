"""Where the arithmetic goes: multiply-adds by part of the encoder."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.html.bars import Bar, Segment, bar_chart
from asr.report.html.figure import figure, grid, legend, sign
from asr.report.html.markup import Markup, element, joined
from asr.report.html.series import Series
from asr.report.units import count_text

NUM_PARTS = 8  # colours of style.css; smaller parts beyond them are added up
_OTHERS = "other parts"


def multiply_adds_charts(groups: Sequence[Series]) -> Markup | None:
    """A chart for each length, stacked by part, with one legend; None without counts."""
    parts = _parts(groups)
    lengths = sorted({key for one in groups for key in one.records[0].macs}, key=float)
    if not parts:
        return None
    return joined([_legend(parts), grid(_chart(groups, length, parts) for length in lengths)])


def part_name(part: str) -> str:
    """``layers.feedforward_in`` as "layers: feedforward in"."""
    return part.replace(".", ": ").replace("_", " ")


def _parts(groups: Sequence[Series]) -> list[str]:
    """Parts in the order in which they ran; the smallest are left out where there are too many."""
    sizes: dict[str, int] = {}
    for one in groups:
        for counts in one.records[0].macs.values():
            for part, count in counts.items():
                sizes[part] = max(sizes.get(part, 0), count)
    if len(sizes) <= NUM_PARTS:
        return list(sizes)
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[: NUM_PARTS - 1]
    return [*(part for part in sizes if part in largest), _OTHERS]


def _chart(groups: Sequence[Series], length: str, parts: Sequence[str]) -> Markup:
    bars = [
        _bar(one.name, one.records[0].macs[length], parts)
        for one in groups
        if length in one.records[0].macs
    ]
    title = f"Multiply-adds of one utterance of {length} s"
    chart = bar_chart(bars, title=title, axis="multiply-adds", width=540, text=_round_count)
    return figure(f"{length} s of audio", chart, "multiply-adds")


def _bar(name: str, counts: dict[str, int], parts: Sequence[str]) -> Bar:
    merged = dict.fromkeys(parts, 0)
    for part, count in counts.items():
        merged[part if part in merged else _OTHERS] += count
    total = sum(counts.values())
    segments = tuple(
        Segment(
            count,
            f"part{parts.index(part)}",
            f"{part_name(part)}, {count_text(count)} ({count / total:.0%})",
        )
        for part, count in merged.items()
        if count
    )
    return Bar(name, segments, count_text(total))


def _round_count(count: float) -> str:
    number, _, prefix = count_text(count).partition(" ")
    return f"{float(number):g} {prefix}".rstrip()


def _legend(parts: Sequence[str]) -> Markup:
    return legend(
        (
            sign(element("rect", x=4, y=1, width=16, height=12, class_=f"segment part{index}")),
            part_name(part),
        )
        for index, part in enumerate(parts)
    )
