"""Made-up comparisons, and their pages taken apart."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from asr.report.hypotheses import WerDifference
from asr.report.pages.comparison import comparison_page
from asr.report.record import RunRecord
from tests.report.records import none_record, probs_record

SVG = "{http://www.w3.org/2000/svg}"
LONG = "context-conformer_medium-reuse.groups1-3-4-8-with-a-name-beyond-all-reason"


def many_records(num_runs: int, name: str = "run") -> list[RunRecord]:
    """Unequal runs of as many configurations, alternately without and with reuse."""
    return [faster(index, num_runs, f"{name}-{index}") for index in range(num_runs)]


def faster(index: int, num_runs: int, run: str) -> RunRecord:
    """Run ``index``: the higher, the faster and the less accurate."""
    record = (none_record, probs_record)[index % 2]()
    factor = 1 - 0.6 * index / num_runs
    wer = {
        split: replace(result, wer=result.wer + index, low=result.low + index, high=40.0 + index)
        for split, result in record.wer.items()
    }
    latency = tuple(
        replace(point, median_ms=point.median_ms * factor, p90_ms=point.p90_ms * factor)
        for point in record.latency
    )
    breakdown = {
        length: {part: ms * factor for part, ms in parts.items()}
        for length, parts in record.breakdown.items()
    }
    steps = tuple(
        replace(point, median_ms=point.median_ms * factor) for point in record.training_step
    )
    config = {**record.config, "reuse": {"number": index}}
    return replace(
        record, run=run, config=config, wer=wer, latency=latency, breakdown=breakdown,
        training_step=steps,
    )  # fmt: skip


def seeds(record: RunRecord, num_seeds: int) -> list[RunRecord]:
    """The run with several seeds, named as `asr compare` does."""
    return [
        replace(record, run=f"{record.run}-seed{seed}", config={**record.config, "seed": seed})
        for seed in range(num_seeds)
    ]


def bench_record(**changes: Any) -> RunRecord:
    """A run that was timed and not trained."""
    return none_record(
        **{"wer": {}, "training": None, "data": {}, "training_step": (), "scaling": (), **changes}
    )


def differences_of(records: Sequence[RunRecord]) -> list[WerDifference]:
    """Each run against the first."""
    first, *others = records
    return [
        WerDifference(
            split="test", run=record.run, baseline=first.run,
            difference=0.5 * place - 1, low=0.5 * place - 2, high=0.5 * place + 1, level=0.95,
        )
        for place, record in enumerate(others)
    ]  # fmt: skip


def parsed(records: Sequence[RunRecord], differences: Sequence[WerDifference] = ()) -> ET.Element:
    """The page as a tree; it is well-formed XML besides HTML."""
    return ET.fromstring(comparison_page(records, differences))


def charts(root: ET.Element, kind: str) -> list[ET.Element]:
    """The drawings of one kind."""
    figures = [figure for figure in root.iter("figure") if figure.get("class") == kind]
    return [svg for figure in figures for svg in figure.iter(f"{SVG}svg")]


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    """Elements with ``name`` among their classes."""
    return [one for one in root.iter() if name in (one.get("class") or "").split()]


def texts(root: ET.Element, tag: str) -> Iterator[str]:
    """The texts of all elements of a tag."""
    return ("".join(one.itertext()) for one in root.iter(tag))
