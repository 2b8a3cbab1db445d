"""Our encoders against those of other libraries: a table by run and length."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.record import BaselineTiming, LatencyPoint, RunRecord, length_key
from asr.report.rows import latency_points
from asr.report.seeds import by_seed
from asr.report.table import Column, Table
from asr.report.units import MISSING, number_text, speedup_text

_NOTES = (
    "Encoders of other libraries at the same dimensions, without reuse, timed in alternation: "
    "their median ms, how many times as long they take as the run (1.25x: the run takes 0.8 "
    "of it), and MiB at the peak.",
)


def against_table(records: Sequence[RunRecord]) -> Table | None:
    """A row for every encoder and length, shortest first; None where no library was timed.

    Training steps follow the latencies.
    """
    named = [(group.name, group.records[0]) for group in by_seed(records)]
    timed: list[tuple[str, LatencyPoint]] = [
        (f"{name}, {length} s", point)
        for name, record in named
        for length, point in latency_points(record).items()
        if point.peers
    ]
    timed += [
        (f"{name}, step of {point.batch_size} x {length_key(point.length_s)} s", point)
        for name, record in named
        for point in record.training_step
        if point.peers
    ]
    if not timed:
        return None
    columns = [
        Column("against", tuple(name for name, _ in timed), align_right=False),
        Column("ms", tuple(number_text(point.median_ms) for _, point in timed)),
        Column("MiB", tuple(_memory_text(point.peak_memory_mib) for _, point in timed)),
    ]
    for peer in dict.fromkeys(peer for _, point in timed for peer in point.peers):
        texts = tuple(_text(point.peers.get(peer)) for _, point in timed)
        columns.append(Column(peer, texts))
    return Table(columns=tuple(columns), notes=_NOTES)


def _text(timing: BaselineTiming | None) -> str:
    if timing is None:
        return MISSING
    texts = [number_text(timing.median_ms), speedup_text(timing.speedup)]
    if timing.peak_memory_mib is not None:
        texts.append(f"{_memory_text(timing.peak_memory_mib)} MiB")
    return ", ".join(texts)


def _memory_text(mib: float | None) -> str:
    return MISSING if mib is None else number_text(mib)
