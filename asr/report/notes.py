"""The notes below a table of runs, and the check whether runs are comparable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from asr.report.points import LatencyPoint
from asr.report.record import RunRecord, SplitCounts, rate_name
from asr.report.rows import BASELINE_NAMES, by_seed, latency_points, pays_from_s

_Facts = Mapping[str, object]


def mismatches(records: Sequence[RunRecord]) -> list[str]:
    """Return the differences between ``records`` that make them incomparable; empty if none.

    There is one sentence for each of hardware, splits, training budget, latency and training step
    that differs, with the values of every run. A run without a timing matches any other in that
    timing.
    """
    aspects: dict[str, Callable[[RunRecord], _Facts]] = {
        "hardware": _hardware,
        "splits": _splits,
        "training budget": _budget,
    }
    found = [_describe(aspect, records, facts_of) for aspect, facts_of in aspects.items()]
    timed = [record for record in records if record.latency]
    found.append(_describe("latency", timed, _latency))
    stepped = [record for record in records if record.training_step]
    found.append(_describe("training step", stepped, _shared_steps(stepped)))
    return [text for text in found if text]


def _describe(
    aspect: str, records: Sequence[RunRecord], facts_of: Callable[[RunRecord], _Facts]
) -> str:
    facts = [facts_of(record) for record in records]
    unlike = []
    for key in dict.fromkeys(key for each in facts for key in each):
        values = [each.get(key, "missing") for each in facts]
        if len(set(values)) > 1:
            runs = zip(values, records, strict=True)
            unlike.append(f"{key} {', '.join(f'{v} in {record.run}' for v, record in runs)}")
    return f"unlike {aspect}: {'; '.join(unlike)}" if unlike else ""


def _hardware(record: RunRecord) -> _Facts:
    hardware = record.hardware
    return {
        "CPU": hardware.cpu_model,
        "cores": hardware.num_cores,
        "threads": hardware.num_threads,
        "GPU": hardware.gpu_model or "none",
        "dtype": hardware.dtype,
        "CUDA graphs": "yes" if hardware.cuda_graphs else "no",
    }


def _splits(record: RunRecord) -> _Facts:
    facts = {
        split: f"{counts.num_utterances} utterances {counts.hours:.4f} h {counts.num_words} words"
        for split, counts in record.data.items()
    }
    return facts | {f"{split} scored": f"{wer.words} words" for split, wer in record.wer.items()}


def _budget(record: RunRecord) -> _Facts:
    cost = record.training
    if cost is None:
        return {}
    return {
        "steps": cost.num_steps,
        "epochs": cost.num_epochs,
        "interrupted": cost.interrupted,
    }


def _latency(record: RunRecord) -> _Facts:
    return {"smallest batch size": min(point.batch_size for point in record.latency)}


def _shared_steps(records: Sequence[RunRecord]) -> Callable[[RunRecord], _Facts]:
    """Return a function for the batches of the lengths that all ``records`` have timed."""
    lengths = [{point.length_s for point in record.training_step} for record in records]
    shared = set.intersection(*lengths) if lengths else set()

    def facts(record: RunRecord) -> _Facts:
        return {
            f"{point.length_s:g} s": f"{point.batch_size} utterances in {point.dtype}"
            for point in record.training_step
            if point.length_s in shared
        }

    return facts


@dataclass(frozen=True, slots=True)
class Origin:
    """A fact about the origin of figures; ``runs`` are those it applies to, empty for all."""

    title: str
    text: str
    runs: tuple[str, ...] = ()


def origin_notes(records: Sequence[RunRecord]) -> Iterator[str]:
    """Yield the hardware, code and command that produced the figures of ``records``."""
    for origin in origins(records):
        names = f" ({', '.join(origin.runs)})" if origin.runs else ""
        text = f"`{origin.text}`" if origin.title == "Command" else origin.text
        yield f"{origin.title}{names}: {text}"


def reading_notes(
    records: Sequence[RunRecord], *, by_run: bool = True, all_lengths: bool = True
) -> Iterator[str]:
    """Yield explanations of the figures, and the length from which reuse pays off."""
    results = [result for record in records for result in record.wer.values()]
    if results:
        units = " or ".join(sorted({result.unit for result in results}))
        levels = " or ".join(sorted({f"{result.level:.0%}" for result in results}))
        seeds = "; for several seeds, the mean (lowest to highest)" if not by_run else ""
        rates = " or ".join(
            f"{rate_name(counted)} ({counted.removesuffix('s')} error rate, of {counted})"
            for counted in sorted({result.counted for result in results}, reverse=True)
        )
        yield (
            f"{rates}: substitutions, deletions and insertions in percent, with their "
            f"{levels} bootstrap interval over {units} of the test{seeds}."
        )
    if any(record.schedule for record in records):
        yield (
            "Schedule: a letter per layer; A computes attention alone, L leads, F follows and "
            "reuses its leader's result, - has no attention. MACs: multiply-adds of one utterance."
        )
    for record in records:
        for split, counts in unscored(record).items():
            yield f"{record.run}, {unscored_text(split, counts)}."
    batch_sizes = {
        min(p.batch_size for p in record.latency) for record in records if record.latency
    }
    if batch_sizes:
        sizes = " or ".join(map(str, sorted(batch_sizes)))
        yield (
            f"Encoder latency in ms at batch size {sizes}: median (90th percentile over rounds). "
            "vs fused, vs explicit: speed-up over the encoder without reuse, with attention in one "
            "kernel (fused) or with its map written to memory, as a leader must (explicit); the "
            "ratio of medians timed in alternation, with its 95% interval over rounds."
        )
    if not all_lengths:
        return
    yield from _rounds_notes(records)
    for group in by_seed(records):  # seeds share an encoder, as far as time goes
        if group.records[0].reuse != "none":
            yield from _pays_notes(group.name, group.records[0])


def origins(records: Sequence[RunRecord]) -> Iterator[Origin]:
    """Yield hardware, versions, commit and command of ``records``."""
    yield from _grouped("Hardware", records, lambda record: str(record.hardware))
    yield from _grouped("Versions", records, _versions_text)
    yield from _grouped(
        "Commit", records, lambda record: str(record.revision or "not in a checkout")
    )
    yield from _grouped("Command", records, lambda record: record.command)


def _rounds_notes(records: Sequence[RunRecord]) -> Iterator[str]:
    lengths: dict[int, set[str]] = {}
    for record in records:
        for length, point in latency_points(record).items():
            if point.num_rounds is not None:
                lengths.setdefault(point.num_rounds, set()).add(length)
    if lengths:
        texts = (
            f"{num_rounds} at {', '.join(sorted(found, key=float))} s"
            for num_rounds, found in sorted(lengths.items(), reverse=True)
        )
        yield f"Timed rounds: {'; '.join(texts)}."
    steps = [point for record in records for point in record.training_step]
    if steps:
        batches = dict.fromkeys(
            f"{point.batch_size} x {point.length_s:g} s in {point.dtype} "
            f"({point.num_rounds} rounds)"
            for point in steps
        )
        yield (
            "Training step: encoder and CTC head forward and backward, and the update of AdamW, on "
            f"random batches of {', '.join(batches)}; speed-ups as for latency."
        )


def _pays_notes(name: str, record: RunRecord) -> Iterator[str]:
    points = latency_points(record)
    for baseline in BASELINE_NAMES:
        timed = [length for length, point in points.items() if baseline in point.baselines]
        if not timed or _is_itself(points.values(), baseline):
            continue
        start_s = pays_from_s(record, baseline)
        if start_s is None:
            verdict = f"not faster than none {baseline} at {timed[-1]} s, the longest measured"
        else:
            verdict = f"faster than none {baseline} from {start_s:g} s on, up to {timed[-1]} s"
        yield f"{name} is {verdict}."


def _is_itself(points: Iterable[LatencyPoint], baseline: str) -> bool:
    """Return whether the encoder is its own baseline: every speed-up is exactly one."""
    return all(
        point.baselines[baseline].speedup == 1.0 for point in points if baseline in point.baselines
    )


def _grouped(
    title: str, records: Sequence[RunRecord], describe: Callable[[RunRecord], str]
) -> Iterator[Origin]:
    """Yield one origin if all runs agree, otherwise one per value with its runs."""
    runs: dict[str, list[str]] = {}
    for record in records:
        runs.setdefault(describe(record), []).append(record.run)
    for text, names in runs.items():
        yield Origin(title, text, tuple(names) if len(runs) > 1 else ())


def _versions_text(record: RunRecord) -> str:
    return ", ".join(f"{name} {version}" for name, version in record.versions.items())


def unscored(record: RunRecord) -> dict[str, SplitCounts]:
    """Return the scored splits in which some utterances could not be read."""
    tests = record.config.get("splits", {}).get("test") or ()
    scored = {*record.wer, *([tests] if isinstance(tests, str) else tests)}
    return {
        split: counts
        for split, counts in record.data.items()
        if split in scored and counts.num_skipped
    }


def unscored_text(split: str, counts: SplitCounts) -> str:
    """Return the note on a split that is only partly scored."""
    return (
        f"{split}: {counts.num_skipped:,} of {counts.num_utterances:,} utterances could not be "
        "read and have no score"
    )
