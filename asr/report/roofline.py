"""How near an encoder and its parts come to what the machine can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.encoder.parts import in_order
from asr.metrics.roofline import Ceilings, Work
from asr.report.record import RunRecord
from asr.report.rows import latency_points
from asr.report.seeds import by_seed
from asr.report.table import Column, Table
from asr.report.units import MISSING, number_text

_NOTES = (
    "Whole: share of the rate of this machine's fastest matrix product (GFLOP/s) that the "
    "encoder's multiply-adds reach, both timed in alternation. Parts: the same within their "
    "operations, with ceilings timed beside these; bw marks those that bandwidth binds (fewer FLOP "
    "per byte than GFLOP/s over GB/s, the triad's), with their share of that, above 100 % where a "
    "cache serves them.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What a part of an encoder does per second, and the share of the ceiling that binds it."""

    intensity: float
    gflop_per_s: float
    gb_per_s: float
    bandwidth_binds: bool
    share: float

    @classmethod
    def from_work(cls, work: Work, ms: float, ceilings: Ceilings) -> Reached:
        """A part that does ``work`` in ``ms``, which is above zero."""
        gflop_per_s, gb_per_s = 2 * work.macs / ms / 1e6, work.num_bytes / ms / 1e6
        bandwidth_binds = work.intensity < ceilings.ridge
        return cls(
            intensity=work.intensity,
            gflop_per_s=gflop_per_s,
            gb_per_s=gb_per_s,
            bandwidth_binds=bandwidth_binds,
            share=gb_per_s / ceilings.bandwidth_gb_per_s
            if bandwidth_binds
            else gflop_per_s / ceilings.gemm_gflop_per_s,
        )


def reached_by_part(record: RunRecord, length: str) -> dict[str, Reached]:
    """Every part that was timed at ``length`` (a length key); empty without ceilings."""
    if length not in record.ceilings:
        return {}
    times_ms = record.breakdown.get(length, {})
    return {
        part: Reached.from_work(work, times_ms[part], record.ceilings[length])
        for part, work in record.work.get(length, {}).items()
        if times_ms.get(part)
    }


def roofline_table(records: Sequence[RunRecord]) -> Table | None:
    """A row for every encoder and length, shortest first; None where no ceilings were timed."""
    timed = [
        (f"{group.name}, {length} s", point.roofline, reached_by_part(group.records[0], length))
        for group in by_seed(records)
        for length, point in latency_points(group.records[0]).items()
        if point.roofline
    ]
    if not timed:
        return None
    columns = [
        Column("roofline", tuple(name for name, _, _ in timed), align_right=False),
        Column("GFLOP/s", tuple(number_text(one.gemm_gflop_per_s) for _, one, _ in timed)),
        Column("GB/s", tuple(number_text(one.bandwidth_gb_per_s) for _, one, _ in timed)),
        Column("whole", tuple(f"{one.gemm_share:.0%}" for _, one, _ in timed)),
    ]
    for part in in_order(part for _, _, parts in timed for part in parts):
        columns.append(Column(part, tuple(_text(parts.get(part)) for _, _, parts in timed)))
    return Table(columns=tuple(columns), notes=_NOTES)


def _text(reached: Reached | None) -> str:
    if reached is None:
        return MISSING
    return f"{'bw ' if reached.bandwidth_binds else ''}{reached.share:.0%}"
