"""The verdict of a comparison: warnings, then a sentence for each schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from asr.report.hypotheses import WerDifference
from asr.report.points import LatencyPoint
from asr.report.record import RunRecord, rate_name
from asr.report.rows import SeedGroup, by_seed, latency_points
from asr.report.table import number_text, percent_text, speedup_text

HIGH_WER = 50.0
"""Percent. A run above it on every test split has not learnt."""
STILL_FALLING = 5.0
"""Points of dev WER lost per quarter of the steps at the end: training ended too early."""
SCATTER = 1.15
"""Ratio of 90th percentile to median above which other programs disturbed the timing."""
USUAL_LENGTH = "15"
"""Seconds of audio of a figure that stands for a single length."""


def usual_length(lengths: Sequence[str]) -> str:
    """Return the length key to show if there is room for only one: 15 s, or else the first."""
    return USUAL_LENGTH if USUAL_LENGTH in lengths else lengths[0]


def verdict(
    records: Sequence[RunRecord], differences: Sequence[WerDifference] = ()
) -> Iterator[str]:
    """Yield warnings, then a sentence for each schedule compared with ``none``, or for one run.

    No schedule is called better or worse on the basis of runs that have not learnt.
    """
    flags = {record.run: reason for record in records if (reason := not_learnt(record))}
    if flags:
        yield (
            f"Warning, not learnt: {'; '.join(f'{run} ({text})' for run, text in flags.items())}. "
            "Such runs do not show which schedule is better."
        )
    yield from scatter_warnings(records)
    groups = by_seed(records)
    for group in groups:
        says = list(_sentence(group, differences, is_alone=len(groups) == 1, flags=flags))
        if says:
            yield f"{group.name} {' and '.join(says)}."


def not_learnt(record: RunRecord) -> str | None:
    """Return why the WER of a trained run is no basis for a choice, else None."""
    rates = [
        (result.wer, rate_name(result.counted))
        for result in record.wer.values()
        if not math.isnan(result.wer)
    ]
    if rates and min(rates)[0] > HIGH_WER:
        lowest, name = min(rates)
        return f"{name} {lowest:.0f} %"
    dev = [(point.step, point.dev_wer) for point in record.learning if point.dev_wer is not None]
    end, last_wer = dev[-1] if dev else (0, 0.0)
    earlier = [(step, wer) for step, wer in dev if step < end]
    if not earlier:
        return None
    before = [(step, wer) for step, wer in earlier if step <= 0.75 * end] or earlier[:1]
    fall = min(wer for _, wer in before) - last_wer
    share = 1 - before[-1][0] / end  # more than a quarter if there were few validations
    if fall * 0.25 / share > STILL_FALLING:
        return f"dev WER still falling, by {fall:.0f} points in the last {share:.0%} of the steps"
    return None


def scatter_warnings(records: Sequence[RunRecord]) -> Iterator[str]:
    """Yield one warning for the lengths at which rounds scatter."""
    worst: dict[str, float] = {}
    for record in records:
        for length, point in latency_points(record).items():
            if (point.num_rounds or 0) > 2 and point.p90_ms > SCATTER * point.median_ms:
                worst[length] = max(worst.get(length, 0.0), point.p90_ms / point.median_ms)
    if worst:
        lengths = ", ".join(
            f"{length} s ({worst[length]:.2f} times)" for length in sorted(worst, key=float)
        )
        yield (
            "Warning, rounds scatter: the slowest tenth takes longer than the median at "
            f"{lengths}. Something else was running; time again on a quiet machine."
        )


def _sentence(
    group: SeedGroup,
    differences: Sequence[WerDifference],
    *,
    is_alone: bool,
    flags: dict[str, str],
) -> Iterator[str]:
    first = group.records[0]
    points = latency_points(first)
    length = usual_length([*points]) if points else ""
    point = points.get(length)
    if first.reuse != "none" and point is not None:
        yield from _speed(point, length)
    own = [one for one in differences if one.run == group.name]
    if own:
        names = {record.run for record in group.records}
        if flags and (names & flags.keys() or _baseline_is_flagged(own[0], flags)):
            yield "cannot be judged by its errors (not learnt)"
            return
        splits: dict[str, list[str]] = {}
        for one in own:
            splits.setdefault(one.verdict, []).append(one.split)
        for text, found in splits.items():
            yield f"{text} on {', '.join(found)}"
    elif is_alone and len(group.records) == 1:
        for split, result in first.wer.items():
            if not math.isnan(result.wer):
                low, high = percent_text(result.low), percent_text(result.high)
                rate = rate_name(result.counted)
                yield f"has {percent_text(result.wer)} % {rate} [{low}, {high}] on {split}"
        if point is not None and first.wer:
            yield f"takes {number_text(point.median_ms)} ms to encode {length} s of audio"


def _baseline_is_flagged(difference: WerDifference, flags: dict[str, str]) -> bool:
    return any(run.startswith(difference.baseline) for run in flags)


def _speed(point: LatencyPoint, length: str) -> Iterator[str]:
    timing = point.baselines.get("fused")
    if timing is None:
        return
    text = speedup_text(timing.speedup, timing.low, timing.high)
    if timing.low is not None and timing.high is not None and timing.low <= 1 <= timing.high:
        yield f"does not differ significantly from none in speed at {length} s of audio ({text})"
    else:
        yield f"is {text} as fast as none at {length} s of audio"
