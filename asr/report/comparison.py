"""Run records side by side: the one table that shows WER next to encoder latency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from asr.report.difference import WerDifference
from asr.report.likeness import unlikeness
from asr.report.notes import measurement_notes
from asr.report.record import RunRecord
from asr.report.rows import BASELINES, to_row
from asr.report.table import Column, Table
from asr.report.units import (
    MISSING,
    count_text,
    duration_text,
    number_text,
    percent_text,
    speedup_text,
)
from asr.types import InputError

_Row = dict[str, Any]
_USUAL_LENGTH = "15"  # seconds of audio for a figure that stands for one length only


def compare(
    records: Sequence[RunRecord],
    *,
    allow_unlike: bool = False,
    differences: Sequence[WerDifference] = (),
) -> Table:
    """The table of ``records``, one row each in their order.

    Hardware, splits or training budgets that differ raise InputError; with ``allow_unlike`` they
    become notes, and a CSV column, instead. ``differences`` are noted below the table.
    """
    if not records:
        raise InputError("no run records to compare; one or more are needed")
    unlike = unlikeness(records)
    if unlike and not allow_unlike:
        raise InputError(
            f"these runs cannot be compared, {' | '.join(unlike)}; "
            "allow_unlike=true prints the table with a warning"
        )
    rows = [to_row(record) for record in records]
    columns = [
        *_identity_columns(rows),
        *_wer_columns(rows),
        *_latency_columns(rows),
        *_resource_columns(rows),
    ]
    notes = [
        *(f"Warning, {text}." for text in unlike),
        *(f"{difference}." for difference in differences),
        *measurement_notes(records),
    ]
    csv_only: dict[str, tuple[Any, ...]] = {"hardware": tuple(row["hardware"] for row in rows)}
    if unlike:
        csv_only["warning"] = (" | ".join(unlike),) * len(rows)
    return Table(columns=tuple(columns), notes=tuple(notes), csv_only=csv_only)


def usual_length(lengths: Sequence[str]) -> str:
    """The length key to show where there is room for one: 15 s, or else the first."""
    return _USUAL_LENGTH if _USUAL_LENGTH in lengths else lengths[0]


def _identity_columns(rows: Sequence[_Row]) -> Iterator[Column]:
    for key in ("run", "reuse", "schedule"):
        texts = tuple(row[key] for row in rows)
        yield Column(key, texts, {key: texts}, align_right=False)
    params = tuple(row["num_params"] for row in rows)
    yield Column("params", tuple(map(count_text, params)), {"num_params": params})
    lengths = _keys(rows, "macs")
    if lengths:
        length = usual_length(lengths)
        macs = tuple(row["macs"].get(length) for row in rows)
        yield Column(f"{length} s: MACs", _texts(macs, count_text), {f"macs_{length}s": macs})


def _wer_columns(rows: Sequence[_Row]) -> Iterator[Column]:
    for split in _keys(rows, "wer"):
        results = tuple(row["wer"].get(split) for row in rows)
        values = {
            f"wer_{split}_{key}": _pick(results, key)
            for key in ("wer", "low", "high", "sub", "del", "ins", "words")
        }
        yield Column(f"WER % {split}", _texts(results, _wer_text), values)


def _latency_columns(rows: Sequence[_Row]) -> Iterator[Column]:
    for length in _keys(rows, "latency_ms"):
        timings = tuple(row["latency_ms"].get(length) for row in rows)
        values = {f"latency_{length}s_{key}_ms": _pick(timings, key) for key in ("median", "p90")}
        yield Column(f"{length} s: ms (p90)", _texts(timings, _timing_text), values)
        speedups = {
            baseline: tuple(row["speedup_vs_none"][baseline].get(length) for row in rows)
            for baseline in BASELINES
        }
        for baseline, factors in speedups.items():
            if any(factor is not None for factor in factors):
                yield Column(
                    f"{length} s: vs {baseline}",
                    _texts(factors, speedup_text),
                    {f"speedup_{length}s_vs_none_{baseline}": factors},
                )


def _resource_columns(rows: Sequence[_Row]) -> Iterator[Column]:
    train_s = tuple(row["train_s"] for row in rows)
    if any(seconds is not None for seconds in train_s):
        yield Column("training", _texts(train_s, duration_text), {"train_s": train_s})
    lengths = _keys(rows, "peak_memory_mib")
    memory = {
        f"peak_memory_{length}s_mib": tuple(row["peak_memory_mib"].get(length) for row in rows)
        for length in lengths
    }
    if any(mib is not None for cells in memory.values() for mib in cells):
        longest = memory[f"peak_memory_{lengths[-1]}s_mib"]
        yield Column(f"{lengths[-1]} s: MiB", _texts(longest, number_text), memory)


def _wer_text(result: dict[str, Any]) -> str:
    if result["wer"] is None:  # no reference words
        return MISSING
    wer, low, high = (percent_text(result[key]) for key in ("wer", "low", "high"))
    return f"{wer} [{low}, {high}]"


def _timing_text(timing: dict[str, float]) -> str:
    return f"{number_text(timing['median'])} ({number_text(timing['p90'])})"


def _pick(items: Sequence[_Row | None], key: str) -> tuple[Any, ...]:
    return tuple(None if item is None else item[key] for item in items)


def _texts(values: Sequence[Any], text: Callable[[Any], str]) -> tuple[str, ...]:
    return tuple(MISSING if value is None else text(value) for value in values)


def _keys(rows: Sequence[_Row], name: str) -> list[str]:
    """Keys of the mapping ``name`` in any row: lengths shortest first, splits as they come."""
    keys = dict.fromkeys(key for row in rows for key in row[name])
    return list(keys) if name == "wer" else sorted(keys, key=float)
