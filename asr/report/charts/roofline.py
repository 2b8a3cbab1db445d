"""Roofline charts: the rates that parts of an encoder reach, and the machine's ceilings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from asr.encoder.parts import in_order
from asr.report.charts.style import (
    SOFT,
    Chart,
    colour,
    fit_axis,
    label_ends,
    marker,
    new_chart,
    tell,
)
from asr.report.further_tables import reached_by_part
from asr.report.rows import SeedGroup, latency_points

_ROOM = 1.5  # factor beyond the outermost points


def roofline_charts(groups: Sequence[SeedGroup], length: str) -> Iterator[Chart]:
    """Return a chart for each series at this length, if ceilings were timed.

    Parts without multiply-adds have no place on a logarithmic axis.
    """
    for one in groups:
        record = one.records[0]
        point = latency_points(record).get(length)
        found, top = reached_by_part(record, length), record.ceilings.get(length)
        parts = {part: found[part] for part in in_order(found) if found[part].intensity > 0}
        if point is None or point.roofline is None or top is None or not parts:
            continue
        figure, axes = new_chart()
        intensities = [*(part.intensity for part in parts.values()), top.ridge]
        rates = [*(part.gflop_per_s for part in parts.values()), top.gemm_gflop_per_s]
        low, high = min(intensities) / _ROOM, max(intensities) * _ROOM
        for axis, values in ((axes.xaxis, intensities), (axes.yaxis, rates)):
            fit_axis(axis, [min(values) / _ROOM / 3, max(values) * _ROOM])
        roof = np.geomspace(low, high, 100)
        (line,) = axes.plot(
            roof, np.minimum(roof * top.bandwidth_gb_per_s, top.gemm_gflop_per_s), color=SOFT
        )
        ceiling = f"{top.gemm_gflop_per_s:.3g} GFLOP/s, {top.bandwidth_gb_per_s:.3g} GB/s"
        tell(line, ceiling, "curve")
        told = {
            part: f"{part}: {one_part.intensity:.3g} FLOP per byte, "
            f"{one_part.gflop_per_s:.3g} GFLOP/s"
            for part, one_part in parts.items()
        }
        for part, reached in parts.items():
            (mark,) = axes.plot(
                reached.intensity,
                reached.gflop_per_s,
                color=colour(one.index),
                marker=marker(one.index),
                markersize=8,
                linestyle="none",
            )
            tell(mark, told[part])
        label_ends(
            axes,
            [
                (reached.intensity, reached.gflop_per_s, f"{part}, {reached.share:.0%}")
                for part, reached in parts.items()
            ],
        )
        axes.set_xlabel("FLOP per byte")
        axes.set_title("GFLOP/s", loc="left", color=SOFT, fontsize="medium")
        yield Chart(
            title=f"{one.name}, {length} s: {point.roofline.gemm_share:.0%} of the ceiling",
            description=f"{one.name}: {'; '.join(told.values())}. Ceiling: {ceiling}.",
            figure=figure,
        )
