"""Our encoders against those of other libraries: a table by run and length."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.record import BaselineTiming, RunRecord
from asr.report.rows import latency_points
from asr.report.seeds import by_seed
from asr.report.table import Column, Table
from asr.report.units import MISSING, number_text, speedup_text

_NOTES = (
    "Encoders of other libraries at the same dimensions, without reuse, timed in alternation: "
    "their median ms, and how many times as long they take as the run (1.25x: the run takes 0.8 "
    "of it).",
)


def against_table(records: Sequence[RunRecord]) -> Table | None:
    """A row for every encoder and length, shortest first; None where no library was timed."""
    timed = [
        (f"{group.name}, {length} s", point)
        for group in by_seed(records)
        for length, point in latency_points(group.records[0]).items()
        if point.peers
    ]
    if not timed:
        return None
    columns = [
        Column("against", tuple(name for name, _ in timed), align_right=False),
        Column("ms", tuple(number_text(point.median_ms) for _, point in timed)),
    ]
    for peer in dict.fromkeys(peer for _, point in timed for peer in point.peers):
        texts = tuple(_text(point.peers.get(peer)) for _, point in timed)
        columns.append(Column(peer, texts))
    return Table(columns=tuple(columns), notes=_NOTES)


def _text(timing: BaselineTiming | None) -> str:
    if timing is None:
        return MISSING
    return f"{number_text(timing.median_ms)}, {speedup_text(timing.speedup)}"
