"""Runs as rows: schedules in short, seeds together, and what ``--json`` writes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from asr.encoder.parts import in_order
from asr.files import write_text
from asr.report.hypotheses import WerDifference
from asr.report.plain import to_plain
from asr.report.record import (
    BaselineTiming,
    LatencyPoint,
    RunRecord,
    ScalingPoint,
    ScheduledLayer,
    length_key,
)

_LETTERS = {"alone": "A", "lead": "L", "follow": "F", "absent": "-"}


def role_letter(role: str) -> str:
    """One letter for the role of a layer, a dash where it has no attention."""
    return _LETTERS.get(role, "?")


def method_runs(layers: Sequence[ScheduledLayer]) -> list[list[ScheduledLayer]]:
    """The layers in runs of one method each."""
    return [list(run) for _, run in groupby(layers, key=lambda layer: layer.method)]


def schedule_text(layers: Sequence[ScheduledLayer]) -> str:
    """One letter a layer, the shortest repeated unit first: "LFFF x4", "A x16", "LFFA".

    Where methods are mixed each is named: "probs LFFF x2, local A x8".
    """
    runs = method_runs(layers)
    if len(runs) < 2:
        return _letters_text(layers)
    return ", ".join(f"{run[0].method} {_letters_text(run)}" for run in runs)


def _letters_text(layers: Sequence[ScheduledLayer]) -> str:
    letters = "".join(role_letter(layer.role) for layer in layers)
    for size in range(1, len(letters) // 2 + 1):
        num_tiles, rest = divmod(len(letters), size)
        if not rest and letters[:size] * num_tiles == letters:
            return f"{letters[:size]} x{num_tiles}"
    return letters


_SEED = re.compile(r"[-_ ]?(?<![A-Za-z0-9])seed[-_=]?\d+(?![A-Za-z0-9])")


class SeedGroup(NamedTuple):
    """The runs of a configuration, no seed twice, under one name."""

    name: str
    records: tuple[RunRecord, ...]


def by_seed(records: Sequence[RunRecord]) -> list[SeedGroup]:
    """The groups of ``records``, in the order of their first runs."""
    groups: list[tuple[str, list[RunRecord]]] = []
    for record in records:
        key = _without_seed(record)
        for other, members in groups:
            if other == key and seed_of(record) not in map(seed_of, members):
                members.append(record)
                break
        else:
            groups.append((key, [record]))
    members_of = [members for _, members in groups]
    return [
        SeedGroup(name, tuple(members))
        for name, members in zip(_names(members_of), members_of, strict=True)
    ]


def seed_of(record: RunRecord) -> str:
    """The seed as text; equal for equal seeds, also where a record has none."""
    return repr(record.config.get("seed"))


def _names(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The run's name, without its seed where there are several; always different."""
    names = [
        _SEED.sub("", runs[0].run).strip("-_ ") if len(runs) > 1 else runs[0].run for runs in groups
    ]
    return [
        name if name and names.count(name) == 1 else runs[0].run
        for name, runs in zip(names, groups, strict=True)
    ]


def _without_seed(record: RunRecord) -> str:
    config = {key: value for key, value in record.config.items() if key != "seed"}
    return json.dumps([config, record.reuse, to_plain(record.schedule)], sort_keys=True)


BASELINES = ("fused", "explicit")


def to_row(record: RunRecord, differences: Sequence[WerDifference] = ()) -> dict[str, Any]:
    """A run as plain JSON values: rates in percent, lengths in seconds of audio as keys.

    ``differences`` are those of the run's schedule, all its seeds together.

    Latency, speed-up, memory, rounds and breakdown are those of the smallest batch size timed.
    ``pays_from_s`` is the shortest length from which the run is faster than the baseline at every
    longer one too, None where there is none.
    """
    points = latency_points(record)
    steps = {length_key(point.length_s): point for point in record.training_step}
    row = {
        "run": record.run,
        "reuse": record.reuse,
        "schedule": schedule_text(record.schedule),
        "num_params": sum(record.parameters.values()),
        "macs": {length: sum(parts.values()) for length, parts in record.macs.items()},
        "wer": {
            split: {
                "wer": result.wer,
                "low": result.low,
                "high": result.high,
                "sub": result.sub,
                "del": result.del_,
                "ins": result.ins,
                "words": result.words,
                "cer": result.cer,
                "counted": result.counted,
                **_scored(record, split),
                "unit": result.unit,
                "num_units": result.num_units,
            }
            for split, result in record.wer.items()
        },
        "wer_vs_none": {
            one.split: {
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
            for one in differences
        },
        "latency_ms": _times(points),
        "speedup_vs_none": _speedups(points),
        "speedup_interval_vs_none": _intervals(points),
        "rounds": {length: point.num_rounds for length, point in points.items()},
        "breakdown_ms": {
            length: {part: record.breakdown[length][part] for part in in_order(parts)}
            for length, parts in record.breakdown.items()
        },
        "peers_ms": {name: _times(found) for name, found in _peers(points).items()},
        "peers_memory_mib": {name: _memory(found) for name, found in _peers(points).items()},
        "speedup_vs_peers": _peer_speedups(points),
        "roofline": {length: point.roofline for length, point in points.items() if point.roofline},
        "work": {
            length: {part: record.work[length][part] for part in in_order(parts)}
            for length, parts in record.work.items()
        },
        "ceilings": record.ceilings,
        "scaling": [_scaled(point) for point in record.scaling],
        "pays_from_s": {baseline: pays_from_s(record, baseline) for baseline in BASELINES},
        "peak_memory_mib": _memory(points),
        "training_step_ms": _times(steps),
        "training_step_vs_none": _speedups(steps),
        "training_step_interval_vs_none": _intervals(steps),
        "training_step_memory_mib": _memory(steps),
        "training_step_peers_ms": {name: _times(found) for name, found in _peers(steps).items()},
        "training_step_peers_memory_mib": {
            name: _memory(found) for name, found in _peers(steps).items()
        },
        "training_step_vs_peers": _peer_speedups(steps),
        "train_s": record.training.train_s if record.training else None,
        "hardware": str(record.hardware),
    }
    plain: dict[str, Any] = to_plain(row)
    return plain


def _scored(record: RunRecord, split: str) -> dict[str, int | None]:
    """How many utterances the split holds, and how many of them have no score."""
    counts = record.data.get(split)
    return {
        "utterances": counts.num_utterances if counts else None,
        "skipped": counts.num_skipped if counts else None,
    }


def write_rows(
    records: Sequence[RunRecord], path: Path | str, differences: Sequence[WerDifference] = ()
) -> None:
    """Write the rows of ``records`` as a JSON list to ``path``, or to stdout when it is "-"."""
    group_of = {one.run: group.name for group in by_seed(records) for one in group.records}
    rows = [
        to_row(record, [one for one in differences if one.run == group_of[record.run]])
        for record in records
    ]
    text = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        write_text(path, text)


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
        for baseline in BASELINES
    }


def _intervals(points: Mapping[str, LatencyPoint]) -> dict[str, dict[str, list[float]]]:
    """[low, high] of the speed-ups that have one."""
    return {
        baseline: {
            length: [timing.low, timing.high]
            for length, point in points.items()
            if (timing := point.baselines.get(baseline))
            and timing.low is not None
            and timing.high is not None
        }
        for baseline in BASELINES
    }


def _peers(points: Mapping[str, LatencyPoint]) -> dict[str, dict[str, BaselineTiming]]:
    """By library, then by length."""
    names = dict.fromkeys(name for point in points.values() for name in point.peers)
    return {
        name: {length: point.peers[name] for length, point in points.items() if name in point.peers}
        for name in names
    }


def _peer_speedups(points: Mapping[str, LatencyPoint]) -> dict[str, dict[str, float]]:
    """By library, then by length."""
    return {
        name: {length: timing.speedup for length, timing in found.items()}
        for name, found in _peers(points).items()
    }


def _memory(points: Mapping[str, LatencyPoint | BaselineTiming]) -> dict[str, float | None]:
    return {length: point.peak_memory_mib for length, point in points.items()}


def _scaled(point: ScalingPoint) -> dict[str, Any]:
    return {
        "dtype": point.dtype,
        "num_threads": point.num_threads,
        "batch_size": point.batch_size,
        "length_s": point.length_s,
        "median_ms": point.median_ms,
        "p90_ms": point.p90_ms,
        "audio_s_per_s": point.audio_s_per_s,
        "speedup_vs_none": {name: one.speedup for name, one in point.baselines.items()},
        "peak_memory_mib": point.peak_memory_mib,
    }


def latency_points(record: RunRecord) -> dict[str, LatencyPoint]:
    """The points of the smallest batch size by length key, shortest first."""
    smallest = min((point.batch_size for point in record.latency), default=0)
    points = sorted(record.latency, key=lambda point: point.length_s)
    return {length_key(p.length_s): p for p in points if p.batch_size == smallest}


def pays_from_s(record: RunRecord, baseline: str) -> float | None:
    """Shortest length from which ``record`` beats ``baseline`` at all lengths; None if never."""
    found: float | None = None
    for point in reversed(latency_points(record).values()):
        if baseline not in point.baselines or point.baselines[baseline].speedup <= 1.0:
            break
        found = point.length_s
    return found
