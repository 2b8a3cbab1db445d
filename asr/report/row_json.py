"""Rows as JSON: the content of ``--json`` and ``rows.json``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.files import write_text
from asr.report.hypotheses import WerDifference
from asr.report.plain import to_plain
from asr.report.points import BaselineTiming, LatencyPoint, ScalingPoint, StreamingPoint
from asr.report.record import RunRecord
from asr.report.rows import (
    BASELINE_NAMES,
    SplitScore,
    by_seed,
    larger_batches,
    sorted_parts,
    to_row,
)


def write_rows(
    records: Sequence[RunRecord], path: Path | str, differences: Sequence[WerDifference] = ()
) -> None:
    """Write the rows of ``records`` as a JSON list to ``path``, or to stdout if it is "-"."""
    group_of = {one.run: group.name for group in by_seed(records) for one in group.records}
    rows = [
        json_row(record, [one for one in differences if one.run == group_of[record.run]])
        for record in records
    ]
    text = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        write_text(path, text)


def json_row(record: RunRecord, differences: Sequence[WerDifference] = ()) -> dict[str, Any]:
    """Return a run as JSON values: rates in percent, lengths in seconds of audio as keys.

    ``differences`` are those of the run's schedule, over all its seeds. Latency, speed-up, memory,
    rounds and breakdown are those of the smallest batch size timed; ``larger_batches`` has others.
    """
    row = to_row(record, differences)
    points, steps = row.latency, row.training_step
    plain: dict[str, Any] = to_plain(
        {
            "run": row.run,
            "reuse": row.reuse,
            "schedule": row.schedule,
            "num_params": row.num_params,
            "macs": row.macs,
            "wer": {split: _score(score) for split, score in row.wer.items()},
            **({"wer_by_label": record.groups} if record.groups else {}),
            **({"decoding_s": _decoding(record)} if record.decoding else {}),
            **({"wer_vs_float32": record.wer_vs_float32} if record.wer_vs_float32 else {}),
            "wer_vs_none": {split: _difference(one) for split, one in row.differences.items()},
            "latency_ms": _times(points),
            "speedup_vs_none": _speedups(points),
            "speedup_interval_vs_none": _intervals(points),
            "rounds": {length: point.num_rounds for length, point in points.items()},
            "breakdown_ms": row.breakdown_ms,
            "peers_ms": {name: _times(found) for name, found in _peers(points).items()},
            "peers_memory_mib": {name: _memory(found) for name, found in _peers(points).items()},
            "speedup_vs_peers": _peer_speedups(points),
            "roofline": {
                length: point.roofline for length, point in points.items() if point.roofline
            },
            "work": {length: sorted_parts(parts) for length, parts in record.work.items()},
            "ceilings": record.ceilings,
            "larger_batches": [
                _batch(point) | {"speedup_vs_peers": _vs(point.peers)}
                for point in larger_batches(record)
            ],
            "scaling": [_scaled(point) for point in record.scaling],
            "streaming": [_streamed(point) for point in record.streaming],
            **({"streaming_wer": _streaming_wer(record)} if record.streaming_wer else {}),
            "pays_from_s": row.pays_from_s,
            "peak_memory_mib": _memory(points),
            "training_step_ms": _times(steps),
            "training_step_vs_none": _speedups(steps),
            "training_step_interval_vs_none": _intervals(steps),
            "training_step_memory_mib": _memory(steps),
            "training_step_peers_ms": {
                name: _times(found) for name, found in _peers(steps).items()
            },
            "training_step_peers_memory_mib": {
                name: _memory(found) for name, found in _peers(steps).items()
            },
            "training_step_vs_peers": _peer_speedups(steps),
            "train_s": row.train_s,
            "hardware": row.hardware,
        }
    )
    return plain


def _score(score: SplitScore) -> dict[str, Any]:
    return {
        "wer": score.wer,
        "low": score.low,
        "high": score.high,
        "sub": score.sub,
        "del": score.del_,
        "ins": score.ins,
        "words": score.words,
        "cer": score.cer,
        "counted": score.counted,
        "utterances": score.num_utterances,
        "skipped": score.num_skipped,
        "unit": score.unit,
        "num_units": score.num_units,
        **({"scoring": score.scoring} if score.scoring else {}),
    }


def _streaming_wer(record: RunRecord) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the scores by chunk length in milliseconds, then by split."""
    return {
        chunk_ms: {
            split: _score(SplitScore.of_run(rate, record.data.get(split)))
            for split, rate in rates.items()
        }
        for chunk_ms, rates in record.streaming_wer.items()
    }


def _decoding(record: RunRecord) -> dict[str, dict[str, float]]:
    return {
        split: {
            "audio": work.audio_s,
            "features": work.features,
            "encoder": work.encoder,
            "search": work.search,
        }
        for split, work in record.decoding.items()
    }


def _difference(one: WerDifference) -> dict[str, Any]:
    return {
        "difference": one.difference,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "p_holm": one.p_holm,
        "num_compared": one.num_compared,
        "num_seeds": one.num_seeds,
        "num_baseline_seeds": one.num_baseline_seeds,
        "unit": one.unit,
        "num_units": one.num_units,
        "is_finding": one.is_finding,
    }


def _times(points: Mapping[str, LatencyPoint | BaselineTiming]) -> dict[str, dict[str, float]]:
    return {
        length: {"median": point.median_ms, "p90": point.p90_ms} for length, point in points.items()
    }


def _speedups(points: Mapping[str, LatencyPoint]) -> dict[str, dict[str, float]]:
    return {
        baseline: {
            length: point.baselines[baseline].speedup
            for length, point in points.items()
            if baseline in point.baselines
        }
        for baseline in BASELINE_NAMES
    }


def _intervals(points: Mapping[str, LatencyPoint]) -> dict[str, dict[str, list[float]]]:
    """Return [low, high] of the speed-ups that have an interval."""
    return {
        baseline: {
            length: [timing.low, timing.high]
            for length, point in points.items()
            if (timing := point.baselines.get(baseline))
            and timing.low is not None
            and timing.high is not None
        }
        for baseline in BASELINE_NAMES
    }


def _peers(points: Mapping[str, LatencyPoint]) -> dict[str, dict[str, BaselineTiming]]:
    """Return the points by library, then by length."""
    names = dict.fromkeys(name for point in points.values() for name in point.peers)
    return {
        name: {length: point.peers[name] for length, point in points.items() if name in point.peers}
        for name in names
    }


def _peer_speedups(points: Mapping[str, LatencyPoint]) -> dict[str, dict[str, float]]:
    """Return the speed-ups by library, then by length."""
    return {
        name: {length: timing.speedup for length, timing in found.items()}
        for name, found in _peers(points).items()
    }


def _memory(points: Mapping[str, LatencyPoint | BaselineTiming]) -> dict[str, float | None]:
    return {length: point.peak_memory_mib for length, point in points.items()}


def _scaled(point: ScalingPoint) -> dict[str, Any]:
    return {"dtype": point.dtype, "num_threads": point.num_threads, **_batch(point)}


def _batch(point: LatencyPoint) -> dict[str, Any]:
    return {
        "batch_size": point.batch_size,
        "length_s": point.length_s,
        "median_ms": point.median_ms,
        "p90_ms": point.p90_ms,
        "audio_s_per_s": point.audio_s_per_s,
        "speedup_vs_none": _vs(point.baselines),
        "peak_memory_mib": point.peak_memory_mib,
    }


def _vs(timings: Mapping[str, BaselineTiming]) -> dict[str, float]:
    return {name: one.speedup for name, one in timings.items()}


def _streamed(point: StreamingPoint) -> dict[str, Any]:
    return {
        "chunk_s": point.length_s,
        "num_streams": point.batch_size,
        "latency_s": point.latency_s,
        "median_ms": point.median_ms,
        "p90_ms": point.p90_ms,
        "p99_ms": point.p99_ms,
        "real_time_factor": point.real_time_factor,
        "kept_bytes": point.kept_bytes,
        "speedup_vs_none": _vs(point.baselines),
    }
