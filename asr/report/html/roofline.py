"""The roofline: what parts of an encoder reach, under the ceilings of the machine."""

from __future__ import annotations

from collections.abc import Sequence

from asr.encoder.parts import in_order
from asr.profiling.roofline import Ceilings
from asr.report.further_tables import Reached, reached_by_part
from asr.report.html.axis import horizontal_axis, line, tick_room, vertical_axis, words
from asr.report.html.choice import choice
from asr.report.html.figure import drawing, figure, grid
from asr.report.html.label import LINE_PX, Box, spread, text_width
from asr.report.html.markup import Markup, element, joined
from asr.report.html.scale import Scale
from asr.report.html.series import Series
from asr.report.rows import latency_points
from asr.report.verdict import usual_length

_WIDTH, _HEIGHT = 540.0, 380.0  # pixels
_ROOM = 1.5  # factor beyond the outermost points


def roofline_charts(groups: Sequence[Series]) -> Markup | None:
    """A chart for each series at the length chosen; None where no ceilings were timed."""
    lengths = sorted({key for one in groups for key in latency_points(one.records[0])}, key=float)
    panels: dict[str, Markup] = {}
    for length in lengths:
        charts = [chart for one in groups if (chart := _chart(one, length))]
        if charts:
            panels[f"{length} s"] = grid(charts)
    if not panels:
        return None
    chosen = usual_length([label.removesuffix(" s") for label in panels])
    return choice("roofline-length", "Length of the audio", panels, f"{chosen} s")


def _chart(series: Series, length: str) -> Markup | None:
    """Parts without multiply-adds have no place on a logarithmic axis."""
    record = series.records[0]
    point = latency_points(record).get(length)
    found, top = reached_by_part(record, length), record.ceilings.get(length)
    parts = {part: found[part] for part in in_order(found) if found[part].intensity > 0}
    if point is None or point.roofline is None or top is None or not parts:
        return None
    names = {part: f"{part}, {one.share:.0%}" for part, one in parts.items()}
    x_values = [*(one.intensity for one in parts.values()), top.ridge]
    y_values = [*(one.gflop_per_s for one in parts.values()), top.gemm_gflop_per_s]
    y = _log(y_values, _HEIGHT - 52, 34)
    room = 30 + max(map(text_width, names.values()))
    area = Box(tick_room(y), 34, _WIDTH - room, _HEIGHT - 52)
    x = _log(x_values, area.left, area.right)
    title = f"{series.name}, {length} s: {point.roofline.gemm_share:.0%} of the ceiling"
    described = "; ".join(
        f"{part}: {one.intensity:.3g} FLOP per byte, {one.gflop_per_s:.3g} GFLOP/s"
        for part, one in parts.items()
    )
    chart = drawing(
        _WIDTH,
        _HEIGHT,
        title,
        f"{series.name}: {described}.",
        horizontal_axis(x, area, "FLOP per byte"),
        vertical_axis(y, area, "GFLOP/s"),
        _roof(top, x, y),
        joined(_marks(series, parts, names, x, y, area)),
    )
    return figure(title, chart, "roofline")


def _roof(ceilings: Ceilings, x: Scale, y: Scale) -> Markup:
    """Bandwidth up to the ridge, and level from there."""
    top = ceilings.gemm_gflop_per_s
    left = max(x.low, y.low / ceilings.bandwidth_gb_per_s)
    corners = [
        (left, left * ceilings.bandwidth_gb_per_s),
        (ceilings.ridge, top),
        (x.high, top),
    ]
    path = "L".join(f"{x(intensity):.2f} {y(rate):.2f}" for intensity, rate in corners)
    text = f"{top:.3g} GFLOP/s, {ceilings.bandwidth_gb_per_s:.3g} GB/s"
    return element("path", element("title", text), d=f"M{path}", class_="curve baseline")


def _marks(
    series: Series,
    parts: dict[str, Reached],
    names: dict[str, str],
    x: Scale,
    y: Scale,
    area: Box,
) -> list[Markup]:
    heights = [y(one.gflop_per_s) for one in parts.values()]
    places = spread(heights, LINE_PX, area.top + 6, area.bottom - 2)
    shapes = []
    for (part, one), height, place in zip(parts.items(), heights, places, strict=True):
        left = x(one.intensity)
        text = f"{part}: {one.intensity:.3g} FLOP per byte, {one.gflop_per_s:.3g} GFLOP/s"
        shapes += [
            line(left + 7, height, area.right + 14, place, "leader"),
            series.marker(left, height, text),
            words(names[part], area.right + 18, place + 4, "name"),
        ]
    return shapes


def _log(values: Sequence[float], start_px: float, end_px: float) -> Scale:
    return Scale(min(values) / _ROOM, max(values) * _ROOM, start_px, end_px, log=True)
