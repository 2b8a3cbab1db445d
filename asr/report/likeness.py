"""Whether runs may stand in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from asr.report.record import RunRecord

_Facts = Mapping[str, object]


def unlikeness(records: Sequence[RunRecord]) -> list[str]:
    """What differs between ``records`` though a comparison needs it equal; empty when nothing.

    One sentence for each of hardware, splits, training budget, latency and training step that
    differs, with the values of every run. A run without a timing is like any other in that.
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
    """Batches of the lengths that all ``records`` have timed."""
    lengths = [{point.length_s for point in record.training_step} for record in records]
    shared = set.intersection(*lengths) if lengths else set()

    def facts(record: RunRecord) -> _Facts:
        return {
            f"{point.length_s:g} s": f"{point.batch_size} utterances in {point.dtype}"
            for point in record.training_step
            if point.length_s in shared
        }

    return facts
