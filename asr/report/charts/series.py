"""Runs drawn as one series: all seeds of a configuration share a colour and a marker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.report.record import RunRecord
from asr.report.rows import by_seed


@dataclass(frozen=True, slots=True)
class Series:
    """Runs whose configs differ in ``seed`` only; ``index`` picks colour, marker and dash."""

    name: str
    records: tuple[RunRecord, ...]
    index: int


def grouped(records: Sequence[RunRecord]) -> list[Series]:
    """The series of ``records``, in the order of their first runs."""
    return [
        Series(group.name, group.records, index) for index, group in enumerate(by_seed(records))
    ]
