"""The records and the lines on stderr of `asr evaluate`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asr.cli.run_folder import run_name
from asr.measure.evaluation import SplitEvaluation
from asr.measure.latency import measure_encoders
from asr.metrics.confidence import calibration
from asr.model.build import build
from asr.model.package import ModelPackage
from asr.profiling.cost import count_parameters
from asr.profiling.hardware import describe_hardware, installed_versions, source_revision
from asr.profiling.latency import LatencySpec
from asr.report.record import RunRecord, WerChange

Found = dict[float | None, dict[str, SplitEvaluation]]
"""By the length of a chunk in milliseconds (None: whole recordings), then by split."""


def evaluation_records(
    args: argparse.Namespace,
    original: ModelPackage,
    found: Found,
    exact: Found,
    decode: dict[str, Any],
    labels: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> list[RunRecord]:
    """A record for each length of a chunk, by the search ``decode``.

    ``original`` is the model in float32. ``exact`` is what was found with it, empty where ``found``
    was found with it, too. ``labels`` are those of each split by name and utterance. Latency is
    that of the encoder on whole audio of ``--lengths``.
    """
    name = run_name(args.model)
    spec = LatencySpec(
        lengths_s=args.lengths or [1],
        repeats=args.repeats,
        dtype=args.dtype,
        cuda_graphs=args.cuda_graphs,
    )
    config = {**original.config, "decode": decode}
    cost = measure_encoders({name: config}, spec, device=args.device)[name]
    record = RunRecord(
        run=name,
        reuse=build(config["reuse"], "reuse").name,
        command=args.command,
        config=config,
        schedule=cost.schedule,
        hardware=describe_hardware(args.device, args.dtype, cuda_graphs=args.cuda_graphs),
        versions=installed_versions(),
        revision=source_revision(),
        parameters=count_parameters(original.model),
        macs=cost.macs,
        latency=cost.latency if args.lengths else (),
        breakdown=cost.breakdown if args.lengths else {},
    )
    return [
        replace(
            record,
            run=name_of(name, length_ms),
            config=config if length_ms is None else {**config, "stream": {"chunk_ms": length_ms}},
            data={split: evaluation.counts for split, evaluation in splits.items()},
            wer={split: evaluation.wer for split, evaluation in splits.items()},
            wer_vs_float32={
                split: splits[split].change_from(one)
                for split, one in exact.get(length_ms, {}).items()
            },
            groups={
                split: {name: evaluation.by_label(values) for name, values in labels[split].items()}
                for split, evaluation in splits.items()
                if labels[split]
            },
        )
        for length_ms, splits in found.items()
    ]


def name_of(name: str, length_ms: float | None) -> str:
    """A run or split, heard in chunks of ``length_ms`` or whole."""
    return name if length_ms is None else f"{name} {length_ms:g} ms"


def wer_line(split: str, evaluation: SplitEvaluation) -> str:
    """The error rate with its interval, CER, and the counts behind the rate, for people."""
    wer, counts = evaluation.wer, evaluation.counts
    cer = "" if wer.rate == "CER" else f", CER {wer.cer:.2f} %"
    skipped = f", {counts.num_skipped} skipped" if counts.num_skipped else ""
    spelt = f"; scored {wer.scoring}" if wer.scoring else ""
    return (
        f"{split}: {wer.rate} {wer.wer:.2f} % [{wer.low:.2f}, {wer.high:.2f}]{cer}, "
        f"{wer.sub} substitutions, {wer.del_} deletions, {wer.ins} insertions in "
        f"{wer.words:,} {wer.counted} of {counts.num_utterances:,} utterances{skipped}{spelt}"
    )


def confidence_line(split: str, evaluation: SplitEvaluation) -> str:
    """What the confidences of words are worth; empty where they are not known."""
    confidences: list[float] = []
    is_right: list[bool] = []
    for one in evaluation.scored:
        ops = [step.op for step in one.alignment if step.op != "del"]
        if len(ops) == len(one.confidences):
            confidences += one.confidences
            is_right += [op == "equal" for op in ops]
    return f"{split}: confidence: {calibration(confidences, is_right)}" if confidences else ""


def change_line(split: str, change: WerChange, dtype: str) -> str:
    """What the dtype of the encoder does to the error rate."""
    return (
        f"{split}: {dtype} {change.difference:+.2f} points [{change.low:+.2f}, {change.high:+.2f}] "
        f"from {change.wer_float32:.2f} % in float32"
    )
