"""Run records side by side: the one table that shows WER next to encoder latency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from asr.encoder.parts import in_order
from asr.report.hypotheses import WerDifference
from asr.report.notes import mismatches, origin_notes, reading_notes
from asr.report.record import RunRecord, rate_name
from asr.report.rows import BASELINES, by_seed, to_row
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
from asr.types import InputError

_Row = dict[str, Any]


def compare(
    records: Sequence[RunRecord],
    *,
    allow_unlike: bool = False,
    differences: Sequence[WerDifference] = (),
    by_run: bool = True,
    all_lengths: bool = True,
    with_origins: bool = True,
) -> Table:
    """The table of ``records`` in their order, under a verdict.

    One row each, or with ``by_run`` off a row for each schedule, the mean of its seeds. With
    ``all_lengths`` off figures are those of one length, and training steps are left out.

    Hardware, splits or training budgets that differ raise InputError; with ``allow_unlike`` they
    become notes, and a CSV column, instead. Where figures come from stands last, or is left out
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
    rows = [to_row(record) for record in records] if by_run else _schedule_rows(records)
    if not all_lengths:
        rows = [_at_usual_length(row) for row in rows]
    columns = [
        *_identity_columns(rows, by_run=by_run),
        *_wer_columns(rows, () if by_run else differences),
        *_timing_columns(rows, _LATENCY),
        *(_timing_columns(rows, _TRAINING_STEP) if all_lengths else ()),
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


def _schedule_rows(records: Sequence[RunRecord]) -> list[_Row]:
    """A row for each schedule: that of its first run with means over all of its seeds."""
    rows = []
    for group in by_seed(records):
        members = [to_row(record) for record in group.records]
        row = members[0] | {"run": group.name}
        if len(members) > 1:
            row["wer"] = {
                split: _over_seeds([one["wer"][split] for one in members if split in one["wer"]])
                for split in row["wer"]
            }
            seconds = [one["train_s"] for one in members if one["train_s"] is not None]
            row["train_s"] = fmean(seconds) if seconds else None
        rows.append(row)
    return rows


def _over_seeds(results: Sequence[_Row]) -> _Row:
    """Means, and for ``low`` and ``high`` the lowest and the highest rate of ``seeds`` runs."""
    rates = [result["wer"] for result in results if result["wer"] is not None]
    if not rates:
        return results[0]
    means = {
        key: fmean(values)
        for key in ("sub", "del", "ins", "words", "cer")
        if (values := [result[key] for result in results if result[key] is not None])
    }
    spread = {"wer": fmean(rates), "low": min(rates), "high": max(rates), "seeds": len(rates)}
    return results[0] | means | spread


def _at_usual_length(row: _Row) -> _Row:
    """The row with one length in everything that has several."""
    lengths = _keys([row], _LATENCY.times)
    if not lengths:
        return row
    length = usual_length(lengths)

    def only(found: _Row) -> _Row:
        return {key: value for key, value in found.items() if key == length}

    return row | {
        "latency_ms": only(row["latency_ms"]),
        "peak_memory_mib": only(row["peak_memory_mib"]),
        "training_step_memory_mib": {},
        "speedup_vs_none": {name: only(one) for name, one in row["speedup_vs_none"].items()},
    }


def _identity_columns(rows: Sequence[_Row], *, by_run: bool) -> Iterator[Column]:
    is_named_by_reuse = not by_run and all(row["run"] == row["reuse"] for row in rows)
    for key in ("run", "schedule") if is_named_by_reuse else ("run", "reuse", "schedule"):
        texts = tuple(row[key] for row in rows)
        yield Column(key, texts, {key: texts}, align_right=False)
    params = tuple(row["num_params"] for row in rows)
    yield Column("params", tuple(map(count_text, params)), {"num_params": params})
    lengths = _keys(rows, "macs")
    if lengths:
        length = usual_length(lengths)
        macs = tuple(row["macs"].get(length) for row in rows)
        yield Column(f"{length} s: MACs", _texts(macs, count_text), {f"macs_{length}s": macs})


def _wer_columns(rows: Sequence[_Row], differences: Sequence[WerDifference]) -> Iterator[Column]:
    for split in _keys(rows, "wer"):
        results = tuple(row["wer"].get(split) for row in rows)
        values = {
            f"wer_{split}_{key}": _pick(results, key)
            for key in (
                *("wer", "low", "high", "sub", "del", "ins", "words", "cer"),
                *("utterances", "skipped"),
            )
        }
        rate = next((rate_name(one["counted"]) for one in results if one), "WER")
        yield Column(f"{rate} % {split}", _texts(results, _wer_text), values)
        found = {one.run: one for one in differences if one.split == split}
        if found:
            beside = tuple(found.get(row["run"]) for row in rows)
            yield Column(
                f"minus {short_names([next(iter(found.values())).baseline])[0]}",
                _texts(beside, _difference_text),
                {f"wer_{split}_minus_none": tuple(one and one.difference for one in beside)},
                align_right=False,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """How what was timed beside its baselines is called: keys of rows, words and CSV headers."""

    times: str
    speedups: str
    peer_times: str
    peer_speedups: str
    word: str
    csv_times: str
    csv_speedup: str
    intervals: str


_LATENCY = _Timed(
    times="latency_ms",
    speedups="speedup_vs_none",
    peer_times="peers_ms",
    peer_speedups="speedup_vs_peers",
    word="",
    csv_times="latency_{length}s",
    csv_speedup="speedup_{length}s_vs",
    intervals="speedup_interval_vs_none",
)
_TRAINING_STEP = _Timed(
    times="training_step_ms",
    speedups="training_step_vs_none",
    peer_times="training_step_peers_ms",
    peer_speedups="training_step_vs_peers",
    word="step ",
    csv_times="training_step_{length}s",
    csv_speedup="training_step_speedup_{length}s_vs",
    intervals="training_step_interval_vs_none",
)


def _timing_columns(rows: Sequence[_Row], timed: _Timed) -> Iterator[Column]:
    for length in _keys(rows, timed.times):
        timings = tuple(row[timed.times].get(length) for row in rows)
        csv_times = timed.csv_times.format(length=length)
        values = {f"{csv_times}_{key}_ms": _pick(timings, key) for key in ("median", "p90")}
        yield Column(f"{length} s: {timed.word}ms (p90)", _texts(timings, _timing_text), values)
        for baseline in BASELINES:
            factors = tuple(row[timed.speedups][baseline].get(length) for row in rows)
            if any(factor is not None for factor in factors):
                bounds = [row[timed.intervals][baseline].get(length) for row in rows]
                low, high = (tuple(one and one[end] for one in bounds) for end in (0, 1))
                key = f"{timed.csv_speedup.format(length=length)}_none_{baseline}"
                texts = (
                    MISSING if factor is None else speedup_text(factor, *ends)
                    for factor, *ends in zip(factors, low, high, strict=True)
                )
                values = {key: factors, f"{key}_low": low, f"{key}_high": high}
                yield Column(f"{length} s: {timed.word}vs {baseline}", tuple(texts), values)


def _resource_columns(rows: Sequence[_Row]) -> Iterator[Column]:
    train_s = tuple(row["train_s"] for row in rows)
    if any(seconds is not None for seconds in train_s):
        yield Column("training", _texts(train_s, duration_text), {"train_s": train_s})
    yield from _memory_columns(rows, "peak_memory_mib", "", "peak_memory")
    yield from _memory_columns(rows, "training_step_memory_mib", "step ", "training_step_memory")


def _memory_columns(rows: Sequence[_Row], name: str, word: str, csv_name: str) -> Iterator[Column]:
    """The longest length for people, all of them as values."""
    lengths = _keys(rows, name)
    memory = {
        f"{csv_name}_{length}s_mib": tuple(row[name].get(length) for row in rows)
        for length in lengths
    }
    if any(mib is not None for cells in memory.values() for mib in cells):
        longest = memory[f"{csv_name}_{lengths[-1]}s_mib"]
        yield Column(f"{lengths[-1]} s: {word}MiB", _texts(longest, number_text), memory)


def _csv_only(rows: Sequence[_Row]) -> dict[str, tuple[Any, ...]]:
    """Values that are no column of the table: rounds, libraries, ceilings, parts; the hardware."""
    cells: dict[str, tuple[Any, ...]] = {}
    for length in _keys(rows, "rounds"):
        cells[f"latency_{length}s_rounds"] = tuple(row["rounds"].get(length) for row in rows)
    for timed in (_LATENCY, _TRAINING_STEP):
        cells |= _peer_cells(rows, timed)
    for length in _keys(rows, "roofline"):
        found = [row["roofline"].get(length) for row in rows]
        for key in ("gemm_gflop_per_s", "bandwidth_gb_per_s", "gemm_share"):
            cells[f"{key}_{length}s"] = _pick(found, key)
    for length in _keys(rows, "breakdown_ms"):
        parts_ms = [row["breakdown_ms"].get(length, {}) for row in rows]
        for part in in_order(part for parts in parts_ms for part in parts):
            name = part.replace(" ", "_").replace("-", "_")
            cells[f"time_{length}s_{name}_ms"] = tuple(parts.get(part) for parts in parts_ms)
    return {**cells, "hardware": tuple(row["hardware"] for row in rows)}


def _peer_cells(rows: Sequence[_Row], timed: _Timed) -> dict[str, tuple[Any, ...]]:
    cells: dict[str, tuple[Any, ...]] = {}
    for peer in dict.fromkeys(peer for row in rows for peer in row[timed.peer_times]):
        found = [
            {key: row[key].get(peer, {}) for key in (timed.peer_times, timed.peer_speedups)}
            for row in rows
        ]
        for length in _keys(found, timed.peer_times):
            times = [one[timed.peer_times].get(length) for one in found]
            speedups = tuple(one[timed.peer_speedups].get(length) for one in found)
            csv_times = timed.csv_times.format(length=length)
            csv_speedup = timed.csv_speedup.format(length=length)
            cells[f"{csv_times}_{peer}_median_ms"] = _pick(times, "median")
            cells[f"{csv_speedup}_{peer}"] = speedups
    return cells


def _wer_text(result: dict[str, Any]) -> str:
    if result["wer"] is None:  # no reference words
        return MISSING
    wer, low, high = (percent_text(result[key]) for key in ("wer", "low", "high"))
    scored = ""
    if result.get("skipped"):
        num_scored = result["utterances"] - result["skipped"]
        scored = f" ({num_scored:,} of {result['utterances']:,} scored)"
    interval = f"({low} to {high})" if "seeds" in result else f"[{low}, {high}]"
    return f"{wer} {interval}{scored}"


def _difference_text(one: WerDifference) -> str:
    if one.p_holm is None:
        return f"{one.difference:+.2f}, one seed"
    if not one.is_finding:
        return f"{one.difference:+.2f}, not told apart"
    return f"{one.difference:+.2f}, {'worse' if one.difference > 0 else 'better'}"


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
