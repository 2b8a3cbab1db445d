"""Further tables: labels, decoding, other libraries, parts, roofline, threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.encoder.parts import in_order
from asr.profiling.roofline import Ceilings, Work
from asr.report.points import BaselineTiming, LatencyPoint
from asr.report.record import RunRecord, length_key
from asr.report.rows import BASELINE_NAMES, by_seed, larger_batches, latency_points
from asr.report.table import MISSING, Column, Table, number_text, percent_text, speedup_text
from asr.report.verdict import usual_length

_AGAINST_NOTES = (
    "Encoders of other libraries at the same dimensions, without reuse, timed in alternation: "
    "their median ms, their time relative to the run's (1.25x: the run takes 0.8 of their time), "
    "and peak memory in MiB.",
)


def against_table(records: Sequence[RunRecord]) -> Table | None:
    """Return a row for every encoder and length, shortest first; None if no library was timed.

    Larger batches follow, then training steps.
    """
    named = [(group.name, group.records[0]) for group in by_seed(records)]
    timed: list[tuple[str, LatencyPoint]] = [
        (f"{name}, {length} s", point)
        for name, record in named
        for length, point in latency_points(record).items()
        if point.peers
    ]
    timed += [
        (f"{name}, {point.batch_size} x {length_key(point.length_s)} s", point)
        for name, record in named
        for point in larger_batches(record)
        if point.peers
    ]
    timed += [
        (f"{name}, step of {point.batch_size} x {length_key(point.length_s)} s", point)
        for name, record in named
        for point in record.training_step
        if point.peers
    ]
    if not timed:
        return None
    columns = [
        Column("against", tuple(name for name, _ in timed), align_right=False),
        Column("ms", tuple(number_text(point.median_ms) for _, point in timed)),
        Column("MiB", tuple(_memory_text(point.peak_memory_mib) for _, point in timed)),
    ]
    for peer in dict.fromkeys(peer for _, point in timed for peer in point.peers):
        texts = tuple(_ratio_text(point.peers.get(peer)) for _, point in timed)
        columns.append(Column(peer, texts))
    return Table(columns=tuple(columns), notes=_AGAINST_NOTES)


def _ratio_text(timing: BaselineTiming | None) -> str:
    if timing is None:
        return MISSING
    texts = [number_text(timing.median_ms), speedup_text(timing.speedup)]
    if timing.peak_memory_mib is not None:
        texts.append(f"{_memory_text(timing.peak_memory_mib)} MiB")
    return ", ".join(texts)


def _memory_text(mib: float | None) -> str:
    return MISSING if mib is None else number_text(mib)


_BREAKDOWN_NOTES = (
    "Shares of the time inside the operations of one call of the encoder (ms), each timed "
    "separately from the latency. Fused attention is scores, softmax and mix in one kernel; scores "
    "beside it are its position term.",
)


def breakdown_table(records: Sequence[RunRecord], *, all_lengths: bool = True) -> Table | None:
    """Return a row for every encoder and length, shortest first; None if no parts were timed.

    With ``all_lengths`` off there is only the usual length.

    Runs that differ only in their seed share one row: their encoders take the same time.
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
    return Table(columns=tuple(columns), notes=_BREAKDOWN_NOTES)


_ROOFLINE_NOTES = (
    "Whole: share of the rate of this machine's fastest matrix product (GFLOP/s) that the "
    "encoder's multiply-adds reach, both timed in alternation. Parts: the same for their "
    "operations, with ceilings timed beside them; bw marks parts limited by bandwidth (fewer FLOP "
    "per byte than the machine's GFLOP/s over its triad GB/s), with their share of the bandwidth, "
    "which a cache can raise above 100 %.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Operations and bytes per second of a part of an encoder, and its share of the ceiling."""

    intensity: float
    gflop_per_s: float
    gb_per_s: float
    bandwidth_binds: bool
    share: float

    @classmethod
    def from_work(cls, work: Work, ms: float, ceilings: Ceilings) -> Reached:
        """Compute the rates of a part that does ``work`` in ``ms``, which is above zero."""
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
    """Return every part timed at ``length`` (a length key); empty without ceilings."""
    if length not in record.ceilings:
        return {}
    times_ms = record.breakdown.get(length, {})
    return {
        part: Reached.from_work(work, times_ms[part], record.ceilings[length])
        for part, work in record.work.get(length, {}).items()
        if times_ms.get(part)
    }


def roofline_table(records: Sequence[RunRecord]) -> Table | None:
    """Return a row for every encoder and length, shortest first; None without ceilings."""
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
        columns.append(Column(part, tuple(_reached_text(parts.get(part)) for _, _, parts in timed)))
    return Table(columns=tuple(columns), notes=_ROOFLINE_NOTES)


def _reached_text(reached: Reached | None) -> str:
    if reached is None:
        return MISSING
    return f"{'bw ' if reached.bandwidth_binds else ''}{reached.share:.0%}"


def batch_table(records: Sequence[RunRecord]) -> Table | None:
    """Return a row for every encoder and every batch larger than the smallest; None without any."""
    timed = [
        (group.name, point)
        for group in by_seed(records)
        for point in larger_batches(group.records[0])
    ]
    if not timed:
        return None
    points = [point for _, point in timed]
    batches = [f"{point.batch_size} x {length_key(point.length_s)} s" for point in points]
    columns = (
        Column("larger batches", tuple(name for name, _ in timed), align_right=False),
        Column("batch", tuple(batches)),
        *_timing_columns(points),
    )
    note = "s/s: seconds of audio encoded in a second; speed-ups as for latency."
    return Table(columns=columns, notes=(note,))


def _timing_columns(points: Sequence[LatencyPoint]) -> tuple[Column, ...]:
    return (
        Column("ms", tuple(number_text(point.median_ms) for point in points)),
        Column("s/s", tuple(number_text(point.audio_s_per_s) for point in points)),
        *(
            Column(f"vs {name}", tuple(baseline_text(point, name) for point in points))
            for name in BASELINE_NAMES
        ),
        Column("MiB", tuple(_memory_text(point.peak_memory_mib) for point in points)),
    )


def scaling_table(records: Sequence[RunRecord]) -> Table | None:
    """Return a row for every encoder, dtype, number of threads and batch size; None without any."""
    timed = [
        (group.name, point) for group in by_seed(records) for point in group.records[0].scaling
    ]
    if not timed:
        return None
    lengths = dict.fromkeys(f"{point.length_s:g} s" for _, point in timed)
    points = [point for _, point in timed]
    columns = (
        Column("scaling", tuple(name for name, _ in timed), align_right=False),
        Column("dtype", tuple(point.dtype for point in points), align_right=False),
        Column("threads", tuple(str(point.num_threads) for point in points)),
        Column("batch", tuple(str(point.batch_size) for point in points)),
        *_timing_columns(points),
    )
    note = (
        f"Utterances of {', '.join(lengths)} without padding; s/s: seconds of audio encoded in a "
        "second; speed-ups as for latency, MiB the peak above the weights."
    )
    return Table(columns=columns, notes=(note,))


def baseline_text(point: LatencyPoint, baseline: str) -> str:
    """Format the speed-up over a baseline, a dash if it was not timed."""
    timing = point.baselines.get(baseline)
    return MISSING if timing is None else speedup_text(timing.speedup)


def group_table(records: Sequence[RunRecord]) -> Table | None:
    """Return a row for every value of a label, the highest rate first; None without any."""
    found = [
        (record.run, split, label, value, wer)
        for record in records
        for split, labels in record.groups.items()
        for label, values in labels.items()
        for value, wer in sorted(values.items(), key=lambda one: -one[1].wer)
    ]
    if not found:
        return None
    rates = [wer for *_, wer in found]
    columns = (
        Column("run", tuple(run for run, *_ in found), align_right=False),
        Column("split", tuple(split for _, split, *_ in found), align_right=False),
        Column("label", tuple(label for _, _, label, *_ in found), align_right=False),
        Column("value", tuple(value for *_, value, _ in found), align_right=False),
        Column("error rate %", tuple(percent_text(wer.wer) for wer in rates)),
        Column("interval", tuple(f"[{wer.low:.2f}, {wer.high:.2f}]" for wer in rates)),
        Column("counted", tuple(f"{wer.words:,} {wer.counted}" for wer in rates)),
        Column("S", tuple(str(wer.sub) for wer in rates)),
        Column("D", tuple(str(wer.del_) for wer in rates)),
        Column("I", tuple(str(wer.ins) for wer in rates)),
        Column("over", tuple(f"{wer.num_units} {wer.unit}" for wer in rates)),
    )
    note = "Error rates by label; intervals over the speakers or utterances of each group."
    return Table(columns=columns, notes=(note,))


def decoding_table(records: Sequence[RunRecord]) -> Table | None:
    """Return a row for every split with the time of its decoding; None if none was timed."""
    found = [
        (record.run, split, work) for record in records for split, work in record.decoding.items()
    ]
    if not found:
        return None
    columns = (
        Column("run", tuple(run for run, *_ in found), align_right=False),
        Column("split", tuple(split for _, split, _ in found), align_right=False),
        Column("audio s", tuple(f"{work.audio_s:.1f}" for *_, work in found)),
        *(
            Column(f"{part} s", tuple(number_text(getattr(work, part)) for *_, work in found))
            for part in ("features", "encoder", "search")
        ),
    )
    note = (
        "Seconds of work to decode a split, summed over threads; the head counts as encoder, "
        "language models and hotwords as search."
    )
    return Table(columns=columns, notes=(note,))
