"""Latency over CPU threads, batch sizes and dtypes: a table by run."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.record import RunRecord, ScalingPoint
from asr.report.rows import BASELINES
from asr.report.seeds import by_seed
from asr.report.table import Column, Table
from asr.report.units import MISSING, number_text, speedup_text


def scaling_table(records: Sequence[RunRecord]) -> Table | None:
    """A row for every encoder, dtype, number of threads and batch size; None without any."""
    timed = [
        (group.name, point) for group in by_seed(records) for point in group.records[0].scaling
    ]
    if not timed:
        return None
    lengths = dict.fromkeys(f"{point.length_s:g} s" for _, point in timed)
    points = [point for _, point in timed]
    columns = (
        Column("scaling", tuple(name for name, _ in timed), align_right=False),
        Column("dtype", tuple(point.dtype for point in points), align_right=False),
        Column("threads", tuple(str(point.num_threads) for point in points)),
        Column("batch", tuple(str(point.batch_size) for point in points)),
        Column("ms", tuple(number_text(point.median_ms) for point in points)),
        Column("s/s", tuple(number_text(point.audio_s_per_s) for point in points)),
        *(
            Column(f"vs {name}", tuple(_speedup(point, name) for point in points))
            for name in BASELINES
        ),
        Column("MiB", tuple(_memory(point) for point in points)),
    )
    note = (
        f"Utterances of {', '.join(lengths)} without padding; s/s: seconds of audio encoded in a "
        "second; speed-ups as for latency, MiB the peak above the weights."
    )
    return Table(columns=columns, notes=(note,))


def _speedup(point: ScalingPoint, baseline: str) -> str:
    timing = point.baselines.get(baseline)
    return MISSING if timing is None else speedup_text(timing.speedup)


def _memory(point: ScalingPoint) -> str:
    return MISSING if point.peak_memory_mib is None else number_text(point.peak_memory_mib)
