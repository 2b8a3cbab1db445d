"""Where the time of an encoder goes: a table of shares by part, run and length."""

from __future__ import annotations

from collections.abc import Sequence

from asr.encoder.parts import in_order
from asr.report.record import RunRecord
from asr.report.seeds import by_seed
from asr.report.table import Column, Table
from asr.report.units import MISSING, number_text
from asr.report.verdict import usual_length

_NOTES = (
    "Shares of the time inside the operations of one call of the encoder (ms), each timed on its "
    "own, apart from the latency. Fused attention is scores, softmax and mix in one kernel; scores "
    "beside it are its position term.",
)


def breakdown_table(records: Sequence[RunRecord], *, all_lengths: bool = True) -> Table | None:
    """A row for every encoder and length, shortest length first; None when no parts were timed.

    With ``all_lengths`` off the one that stands for all.

    Runs that differ in their seed share an encoder, as far as time goes.
    """
    timed = [
        (f"{group.name}, {length} s", times_ms)
        for group in by_seed(records)
        for length, times_ms in sorted(
            group.records[0].breakdown.items(), key=lambda one: float(one[0])
        )
        if all_lengths or length == usual_length([*group.records[0].breakdown])
    ]
    if not timed:
        return None
    totals = [sum(times_ms.values()) for _, times_ms in timed]
    columns = [
        Column("time by part", tuple(name for name, _ in timed), align_right=False),
        Column("ms", tuple(map(number_text, totals))),
    ]
    for part in in_order(part for _, times_ms in timed for part in times_ms):
        shares = [
            f"{times_ms[part] / total:.1%}" if part in times_ms else MISSING
            for (_, times_ms), total in zip(timed, totals, strict=True)
        ]
        columns.append(Column(part, tuple(shares)))
    return Table(columns=tuple(columns), notes=_NOTES)
