"""The comparison of run records: one table with WER beside encoder latency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from asr.encoder.parts import in_order
from asr.errors import InputError
from asr.report.hypotheses import WerDifference
from asr.report.notes import mismatches, origin_notes, reading_notes
from asr.report.points import BaselineTiming, LatencyPoint
from asr.report.record import RunRecord, rate_name
from asr.report.rows import BASELINE_NAMES, Row, SplitScore, by_seed, seeds_row, to_row
from asr.report.table import (
    MISSING,
    Column,
    Table,
    count_text,
    duration_text,
    number_text,
    percent_text,
    short_names,
    speedup_text,
)
from asr.report.verdict import usual_length, verdict

Item = TypeVar("Item")
Value = TypeVar("Value")


def compare(
    records: Sequence[RunRecord],
    *,
    allow_unlike: bool = False,
    differences: Sequence[WerDifference] = (),
    by_run: bool = True,
    all_lengths: bool = True,
    with_origins: bool = True,
) -> Table:
    """Return the table of ``records`` in their order, below a verdict.

    There is one row per run or, with ``by_run`` off, one per schedule, with the mean of its seeds.
    With ``all_lengths`` off figures are those of one length, and training steps are left out.

    Different hardware, splits or training budgets raise InputError; with ``allow_unlike`` they
    become notes, and a CSV column, instead. The origin of the figures comes last, and is left out
    without ``with_origins``.
    """
    if not records:
        raise InputError("no run records to compare; one or more are needed")
    unlike = mismatches(records)
    if unlike and not allow_unlike:
        raise InputError(
            f"these runs cannot be compared, {' | '.join(unlike)}; "
            "--allow-unlike prints the table with a warning"
        )
    if by_run:
        rows = [to_row(record) for record in records]
    else:
        rows = [
            seeds_row(group, [one for one in differences if one.run == group.name])
            for group in by_seed(records)
        ]
    if not all_lengths:
        rows = [_at_usual_length(row) for row in rows]
    columns = [
        *_identity_columns(rows, by_run=by_run),
        *_wer_columns(rows),
        *_timing_columns([row.latency for row in rows], _LATENCY),
        *_timing_columns([row.training_step for row in rows], _TRAINING_STEP),
        *_resource_columns(rows),
    ]
    notes = [
        *(f"{difference}." for difference in differences),
        *reading_notes(records, by_run=by_run, all_lengths=all_lengths),
        *(origin_notes(records) if with_origins else ()),
    ]
    csv_only = _csv_only(rows)
    if unlike:
        csv_only["warning"] = (" | ".join(unlike),) * len(rows)
    return Table(
        columns=tuple(columns),
        notes=tuple(notes),
        verdict=(*(f"Warning, {text}." for text in unlike), *verdict(records, differences)),
        csv_only=csv_only,
    )


def _at_usual_length(row: Row) -> Row:
    """Return the row with the latency at one length, without training steps."""
    shown = [usual_length([*row.latency])] if row.latency else []
    return replace(row, latency={one: row.latency[one] for one in shown}, training_step={})


def _identity_columns(rows: Sequence[Row], *, by_run: bool) -> Iterator[Column]:
    names = {
        "run": tuple(row.run for row in rows),
        "reuse": tuple(row.reuse for row in rows),
        "schedule": tuple(row.schedule for row in rows),
    }
    if not by_run and names["run"] == names["reuse"]:
        del names["reuse"]
    for header, texts in names.items():
        yield Column(header, texts, {header: texts}, align_right=False)
    params = tuple(row.num_params for row in rows)
    yield Column("params", tuple(map(count_text, params)), {"num_params": params})
    lengths = _lengths([row.macs for row in rows])
    if lengths:
        length = usual_length(lengths)
        macs = tuple(row.macs.get(length) for row in rows)
        yield Column(f"{length} s: MACs", _texts(macs, count_text), {f"macs_{length}s": macs})


def _wer_columns(rows: Sequence[Row]) -> Iterator[Column]:
    for split in dict.fromkeys(split for row in rows for split in row.wer):
        scores = [row.wer.get(split) for row in rows]
        values = {
            f"wer_{split}_wer": _values(scores, lambda score: score.wer),
            f"wer_{split}_low": _values(scores, lambda score: score.low),
            f"wer_{split}_high": _values(scores, lambda score: score.high),
            f"wer_{split}_sub": _values(scores, lambda score: score.sub),
            f"wer_{split}_del": _values(scores, lambda score: score.del_),
            f"wer_{split}_ins": _values(scores, lambda score: score.ins),
            f"wer_{split}_words": _values(scores, lambda score: score.words),
            f"wer_{split}_cer": _values(scores, lambda score: score.cer),
            f"wer_{split}_utterances": _values(scores, lambda score: score.num_utterances),
            f"wer_{split}_skipped": _values(scores, lambda score: score.num_skipped),
        }
        rate = next((rate_name(score.counted) for score in scores if score), "WER")
        yield Column(f"{rate} % {split}", _texts(scores, wer_text), values)
        differences = [row.differences.get(split) for row in rows]
        baseline = next((one.baseline for one in differences if one), None)
        if baseline is not None:
            yield Column(
                f"minus {short_names([baseline])[0]}",
                _texts(differences, _difference_text),
                {f"wer_{split}_minus_none": _values(differences, lambda one: one.difference)},
                align_right=False,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Headers:
    """Names of timed things in headers: a word for the table, and prefixes for CSV headers."""

    word: str
    csv_times: str
    csv_speedup: str

    def times(self, length: str) -> str:
        """Return the prefix of the CSV headers of times."""
        return f"{self.csv_times}_{length}s"

    def speedup(self, length: str, other: str) -> str:
        """Return the CSV header of the speed-up over ``other``."""
        return f"{self.csv_speedup}_{length}s_vs_{other}"


_LATENCY = _Headers(word="", csv_times="latency", csv_speedup="speedup")
_TRAINING_STEP = _Headers(
    word="step ", csv_times="training_step", csv_speedup="training_step_speedup"
)


def _timing_columns(
    timed: Sequence[Mapping[str, LatencyPoint]], headers: _Headers
) -> Iterator[Column]:
    """Yield columns of timings; ``timed`` has the points of every row by length."""
    for length in _lengths(timed):
        points = [found.get(length) for found in timed]
        values = {
            f"{headers.times(length)}_median_ms": _values(points, lambda point: point.median_ms),
            f"{headers.times(length)}_p90_ms": _values(points, lambda point: point.p90_ms),
        }
        yield Column(f"{length} s: {headers.word}ms (p90)", _texts(points, _timing_text), values)
        for baseline in BASELINE_NAMES:
            timings = [point.baselines.get(baseline) if point else None for point in points]
            if any(timings):
                key = headers.speedup(length, f"none_{baseline}")
                values = {
                    key: _values(timings, lambda timing: timing.speedup),
                    f"{key}_low": _values(timings, lambda timing: timing.low),
                    f"{key}_high": _values(timings, lambda timing: timing.high),
                }
                header = f"{length} s: {headers.word}vs {baseline}"
                yield Column(header, _texts(timings, _speedup_text), values)


def _resource_columns(rows: Sequence[Row]) -> Iterator[Column]:
    train_s = tuple(row.train_s for row in rows)
    if any(seconds is not None for seconds in train_s):
        yield Column("training", _texts(train_s, duration_text), {"train_s": train_s})
    yield from _memory_columns([row.latency for row in rows], "", "peak_memory")
    yield from _memory_columns([row.training_step for row in rows], "step ", "training_step_memory")


def _memory_columns(
    timed: Sequence[Mapping[str, LatencyPoint]], word: str, csv_name: str
) -> Iterator[Column]:
    """Yield a column for the longest length, with the values of all lengths for the CSV."""
    cells: dict[str, tuple[float | None, ...]] = {}
    for length in _lengths(timed):
        points = [found.get(length) for found in timed]
        cells[length] = _values(points, lambda point: point.peak_memory_mib)
    if any(mib is not None for found in cells.values() for mib in found):
        longest, memory = list(cells.items())[-1]
        values = {f"{csv_name}_{length}s_mib": found for length, found in cells.items()}
        yield Column(f"{longest} s: {word}MiB", _texts(memory, number_text), values)


def _csv_only(rows: Sequence[Row]) -> dict[str, tuple[Any, ...]]:
    """Return values that only the CSV has: rounds, libraries, ceilings, parts, hardware."""
    cells: dict[str, tuple[Any, ...]] = {}
    lengths = _lengths([row.latency for row in rows])
    for length in lengths:
        points = [row.latency.get(length) for row in rows]
        cells[f"latency_{length}s_rounds"] = _values(points, lambda point: point.num_rounds)
    cells |= _peer_cells([row.latency for row in rows], _LATENCY)
    cells |= _peer_cells([row.training_step for row in rows], _TRAINING_STEP)
    for length in lengths:
        found = [row.latency[length].roofline if length in row.latency else None for row in rows]
        if any(found):
            cells |= {
                f"gemm_gflop_per_s_{length}s": _values(found, lambda one: one.gemm_gflop_per_s),
                f"bandwidth_gb_per_s_{length}s": _values(found, lambda one: one.bandwidth_gb_per_s),
                f"gemm_share_{length}s": _values(found, lambda one: one.gemm_share),
            }
    for length in _lengths([row.breakdown_ms for row in rows]):
        parts_ms = [row.breakdown_ms.get(length, {}) for row in rows]
        for part in in_order(part for parts in parts_ms for part in parts):
            name = part.replace(" ", "_").replace("-", "_")
            cells[f"time_{length}s_{name}_ms"] = tuple(parts.get(part) for parts in parts_ms)
    return {**cells, "hardware": tuple(row.hardware for row in rows)}


def _peer_cells(
    timed: Sequence[Mapping[str, LatencyPoint]], headers: _Headers
) -> dict[str, tuple[float | None, ...]]:
    """Return median and speed-up of the encoders of other libraries, library by library."""
    every_point = [point for found in timed for point in found.values()]
    cells: dict[str, tuple[float | None, ...]] = {}
    for peer in dict.fromkeys(peer for point in every_point for peer in point.peers):
        for length in _lengths(timed):
            points = [found.get(length) for found in timed]
            timings = [point.peers.get(peer) if point else None for point in points]
            if any(timings):
                key = f"{headers.times(length)}_{peer}_median_ms"
                cells[key] = _values(timings, lambda timing: timing.median_ms)
                key = headers.speedup(length, peer)
                cells[key] = _values(timings, lambda timing: timing.speedup)
    return cells


def wer_text(score: SplitScore) -> str:
    """Format a rate with its interval, or the range of its seeds."""
    if score.wer is None:  # no reference words
        return MISSING
    low, high = (MISSING if end is None else percent_text(end) for end in (score.low, score.high))
    scored = ""
    if score.num_skipped and score.num_utterances:
        num_scored = score.num_utterances - score.num_skipped
        scored = f" ({num_scored:,} of {score.num_utterances:,} scored)"
    interval = f"[{low}, {high}]" if score.num_seeds is None else f"({low} to {high})"
    return f"{percent_text(score.wer)} {interval}{scored}"


def _difference_text(one: WerDifference) -> str:
    if one.p_holm is None:
        return f"{one.difference:+.2f}, one seed"
    if not one.is_finding:
        return f"{one.difference:+.2f}, not significant"
    return f"{one.difference:+.2f}, {'worse' if one.difference > 0 else 'better'}"


def _timing_text(point: LatencyPoint) -> str:
    return f"{number_text(point.median_ms)} ({number_text(point.p90_ms)})"


def _speedup_text(timing: BaselineTiming) -> str:
    return speedup_text(timing.speedup, timing.low, timing.high)


def _values(
    items: Sequence[Item | None], value: Callable[[Item], Value]
) -> tuple[Value | None, ...]:
    """Return a CSV column: one value per item, None for missing items."""
    return tuple(None if item is None else value(item) for item in items)


def _texts(items: Sequence[Item | None], text: Callable[[Item], str]) -> tuple[str, ...]:
    """Return a column of the table: a text per item, a dash for missing items."""
    return tuple(MISSING if item is None else text(item) for item in items)


def _lengths(by_length: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the length keys of all rows, shortest first."""
    return sorted({length for found in by_length for length in found}, key=float)
