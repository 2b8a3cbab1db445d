"""Rows of a table of runs: the schedule in letters, figures by length, means over seeds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean
from typing import TypeVar

from asr.encoder.parts import in_order
from asr.report.hypotheses import WerDifference
from asr.report.plain import to_plain
from asr.report.points import LatencyPoint, TrainingStepPoint
from asr.report.record import RunRecord, ScheduledLayer, SplitCounts, SplitWer, length_key

BASELINE_NAMES = ("fused", "explicit")
"""The attention kernels of the encoder without reuse, against which every run is timed."""

T = TypeVar("T")

_LETTERS = {"alone": "A", "lead": "L", "follow": "F", "absent": "-"}


def role_letter(role: str) -> str:
    """Return the letter for the role of a layer, a dash for no attention."""
    return _LETTERS.get(role, "?")


def method_runs(layers: Sequence[ScheduledLayer]) -> list[list[ScheduledLayer]]:
    """Group consecutive layers with the same method."""
    return [list(run) for _, run in groupby(layers, key=lambda layer: layer.method)]


def schedule_text(layers: Sequence[ScheduledLayer]) -> str:
    """Return one letter per layer, as its shortest repeated unit: "LFFF x4", "A x16", "LFFA".

    Mixed methods are named: "probs LFFF x2, local A x8".
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


@dataclass(frozen=True, slots=True)
class SeedGroup:
    """The runs of a configuration under one name, each seed once.

    ``index`` counts the groups; in charts it selects colour, marker and dash.
    """

    name: str
    records: tuple[RunRecord, ...]
    index: int


def by_seed(records: Sequence[RunRecord]) -> list[SeedGroup]:
    """Return the groups of ``records``, in the order of their first runs."""
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
        SeedGroup(name, tuple(members), index)
        for index, (name, members) in enumerate(zip(_names(members_of), members_of, strict=True))
    ]


def seed_of(record: RunRecord) -> str:
    """Return the seed as text; equal for equal seeds, also if records have none."""
    return repr(record.config.get("seed"))


def _names(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """Return distinct names: the run's name, without the seed if there are several runs."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitScore:
    """The error rate of a split in percent with its counts, for a run or for its seeds.

    A rate is None if there is nothing to count. For one run ``low`` and ``high`` are the bootstrap
    interval. For ``num_seeds`` runs they are the lowest and the highest rate, and the other figures
    are means. ``num_utterances`` and ``num_skipped`` are None in records that do not hold them.
    """

    wer: float | None
    low: float | None
    high: float | None
    sub: float
    del_: float
    ins: float
    words: float
    cer: float | None
    counted: str
    num_utterances: int | None
    num_skipped: int | None
    unit: str
    num_units: int | None
    num_seeds: int | None = None
    scoring: str | None = None

    @classmethod
    def of_run(cls, result: SplitWer, counts: SplitCounts | None) -> SplitScore:
        """Return the score of one run; ``counts`` are those of the split."""
        return cls(
            wer=_defined(result.wer),
            low=_defined(result.low),
            high=_defined(result.high),
            sub=result.sub,
            del_=result.del_,
            ins=result.ins,
            words=result.words,
            cer=_defined(result.cer),
            counted=result.counted,
            num_utterances=counts.num_utterances if counts else None,
            num_skipped=counts.num_skipped if counts else None,
            unit=result.unit,
            num_units=result.num_units,
            scoring=result.scoring,
        )

    @classmethod
    def over_seeds(cls, scores: Sequence[SplitScore]) -> SplitScore:
        """Return the mean of several runs of one schedule."""
        rates = [score.wer for score in scores if score.wer is not None]
        if not rates:
            return scores[0]
        cers = [score.cer for score in scores if score.cer is not None]
        return replace(
            scores[0],
            wer=fmean(rates),
            low=min(rates),
            high=max(rates),
            sub=fmean(score.sub for score in scores),
            del_=fmean(score.del_ for score in scores),
            ins=fmean(score.ins for score in scores),
            words=fmean(score.words for score in scores),
            cer=fmean(cers) if cers else None,
            num_seeds=len(rates),
        )


def _defined(rate: float | None) -> float | None:
    """Return None for NaN, the rate of errors in no words."""
    return None if rate is None or math.isnan(rate) else rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table: the figures of a run, or of the seeds of a schedule.

    ``macs``, ``latency``, ``breakdown_ms`` and ``training_step`` are by length key, ``wer`` and
    ``differences`` (from the schedule without reuse) by split. ``latency`` holds the points of the
    smallest batch size timed, the shortest length first. ``pays_from_s`` is, by baseline, the
    shortest length from which the run is faster at all longer ones, None if there is none.
    """

    run: str
    reuse: str
    schedule: str
    num_params: int
    macs: dict[str, int]
    wer: dict[str, SplitScore]
    differences: dict[str, WerDifference]
    latency: dict[str, LatencyPoint]
    breakdown_ms: dict[str, dict[str, float]]
    pays_from_s: dict[str, float | None]
    training_step: dict[str, TrainingStepPoint]
    train_s: float | None
    hardware: str


def to_row(record: RunRecord, differences: Sequence[WerDifference] = ()) -> Row:
    """Return a run as a row; ``differences`` are those of its schedule, over all seeds."""
    return Row(
        run=record.run,
        reuse=record.reuse,
        schedule=schedule_text(record.schedule),
        num_params=sum(record.parameters.values()),
        macs={length: sum(parts.values()) for length, parts in record.macs.items()},
        wer={
            split: SplitScore.of_run(result, record.data.get(split))
            for split, result in record.wer.items()
        },
        differences={one.split: one for one in differences},
        latency=latency_points(record),
        breakdown_ms={length: sorted_parts(parts) for length, parts in record.breakdown.items()},
        pays_from_s={baseline: pays_from_s(record, baseline) for baseline in BASELINE_NAMES},
        training_step={length_key(point.length_s): point for point in record.training_step},
        train_s=record.training.train_s if record.training else None,
        hardware=str(record.hardware),
    )


def seeds_row(group: SeedGroup, differences: Sequence[WerDifference] = ()) -> Row:
    """Return a schedule as a row: that of its first run, with means over all of its seeds."""
    rows = [to_row(record, differences) for record in group.records]
    row = replace(rows[0], run=group.name)
    if len(rows) == 1:
        return row
    seconds = [one.train_s for one in rows if one.train_s is not None]
    return replace(
        row,
        wer={
            split: SplitScore.over_seeds([one.wer[split] for one in rows if split in one.wer])
            for split in row.wer
        },
        train_s=fmean(seconds) if seconds else None,
    )


def sorted_parts(by_part: Mapping[str, T]) -> dict[str, T]:
    """Return the parts of an encoder in their usual order."""
    return {part: by_part[part] for part in in_order(by_part)}


def latency_points(record: RunRecord) -> dict[str, LatencyPoint]:
    """Return the points of the smallest batch size by length key, shortest first."""
    smallest = min((point.batch_size for point in record.latency), default=0)
    points = sorted(record.latency, key=lambda point: point.length_s)
    return {length_key(p.length_s): p for p in points if p.batch_size == smallest}


def larger_batches(record: RunRecord) -> list[LatencyPoint]:
    """Return the points that `latency_points` leaves out, by length, then batch size."""
    usual = latency_points(record).values()
    further = (point for point in record.latency if point not in usual)
    return sorted(further, key=lambda point: (point.length_s, point.batch_size))


def pays_from_s(record: RunRecord, baseline: str) -> float | None:
    """Return the length from which ``record`` beats ``baseline`` at all lengths, or None."""
    found: float | None = None
    for point in reversed(latency_points(record).values()):
        if baseline not in point.baselines or point.baselines[baseline].speedup <= 1.0:
            break
        found = point.length_s
    return found
