"""Records of `asr evaluate`, and its messages on stderr."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from asr.cli.exits import Exit
from asr.cli.run_folder import run_name
from asr.measure.evaluation import SplitEvaluation
from asr.measure.latency import measure_encoders
from asr.metrics.confidence import SHARE, calibration
from asr.model.build import build
from asr.profiling.hardware import describe_hardware, installed_versions, source_revision
from asr.profiling.latency import LatencySpec
from asr.report.record import RunRecord, WerChange


class Way(NamedTuple):
    """A way to decode recordings: in chunks of some milliseconds, or whole; and with an exit."""

    chunk_ms: float | None
    exit: Exit

    def name_of(self, name: str) -> str:
        """Name a run or split that is decoded in this way."""
        name = self.exit.name_of(name)
        return name if self.chunk_ms is None else f"{name} {self.chunk_ms:g} ms"


Found = dict[Way, dict[str, SplitEvaluation]]
"""Evaluations by way of decoding, then by split."""


def evaluation_records(
    args: argparse.Namespace,
    originals: Mapping[Exit, tuple[Mapping[str, Any], Mapping[str, int]]],
    found: Found,
    exact: Found,
    decode: dict[str, Any],
    labels: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> list[RunRecord]:
    """Make a record for each way of decoding with the search ``decode``.

    ``originals`` has the config and parameters of the float32 model for each exit. ``exact`` has
    its evaluations, and is empty if ``found`` is from the float32 model already. ``labels`` has the
    labels of each split by name and utterance. Latency is the encoder's on whole audio of
    ``--lengths``; exits by entropy have none.
    """
    name = run_name(args.model)
    spec = LatencySpec(
        lengths_s=args.lengths or [1],
        repeats=args.repeats,
        dtype=args.dtype,
        cuda_graphs=args.cuda_graphs,
    )
    configs = {exit: {**config, "decode": decode} for exit, (config, _) in originals.items()}
    costs = measure_encoders(
        {exit.name_of(name): config for exit, config in configs.items()}, spec, device=args.device
    )
    records = {}
    for exit, config in configs.items():
        cost = costs[exit.name_of(name)]
        is_timed = bool(args.lengths) and exit.entropy is None
        records[exit] = RunRecord(
            run=exit.name_of(name),
            reuse=build(config["reuse"], "reuse").name,
            command=args.command,
            config=config,
            schedule=cost.schedule,
            hardware=describe_hardware(args.device, args.dtype, cuda_graphs=args.cuda_graphs),
            versions=installed_versions(),
            revision=source_revision(),
            parameters=dict(originals[exit][1]),
            macs=cost.macs if exit.entropy is None else {},
            latency=cost.latency if is_timed else (),
            breakdown=cost.breakdown if is_timed else {},
        )
    return [
        replace(
            records[way.exit],
            run=way.name_of(name),
            config=with_stream(configs[way.exit], way.chunk_ms),
            data={split: evaluation.counts for split, evaluation in splits.items()},
            wer={split: evaluation.wer for split, evaluation in splits.items()},
            decoding={split: evaluation.work for split, evaluation in splits.items()},
            wer_vs_float32={
                split: splits[split].change_from(one) for split, one in exact.get(way, {}).items()
            },
            groups={
                split: {name: evaluation.by_label(values) for name, values in labels[split].items()}
                for split, evaluation in splits.items()
                if labels[split]
            },
        )
        for way, splits in found.items()
    ]


def with_stream(config: dict[str, Any], chunk_ms: float | None) -> dict[str, Any]:
    """Return the config for the record of recordings decoded in chunks, or whole."""
    return config if chunk_ms is None else {**config, "stream": {"chunk_ms": chunk_ms}}


def wer_line(split: str, evaluation: SplitEvaluation) -> str:
    """Describe the error rate with its interval, CER, and the counts behind it in one line."""
    wer, counts = evaluation.wer, evaluation.counts
    cer = "" if wer.rate == "CER" else f", CER {wer.cer:.2f} %"
    skipped = f", {counts.num_skipped} skipped" if counts.num_skipped else ""
    spelt = f"; scored {wer.scoring}" if wer.scoring else ""
    return (
        f"{split}: {wer.rate} {wer.wer:.2f} % [{wer.low:.2f}, {wer.high:.2f}]{cer}, "
        f"{wer.sub} substitutions, {wer.del_} deletions, {wer.ins} insertions in "
        f"{wer.words:,} {wer.counted} of {counts.num_utterances:,} utterances{skipped}{spelt}"
    )


def confidence_lines(split: str, found: SplitEvaluation, temperature: float) -> list[str]:
    """Describe the calibration of word confidences at 1 and at ``temperature``, if known."""
    worth = []
    for one in dict.fromkeys((1.0, temperature)):
        at = found.tempered(one)
        confidences, is_right = at.judged_words()
        if confidences:
            said = "" if temperature == 1.0 else f" at temperature {one:.3g}"
            worth.append(
                f"{split}: confidence{said}: {calibration(confidences, is_right)}; WER "
                f"{at.wer_of_surest(SHARE):.2f} % in the surest {100 * SHARE:.0f} % of utterances"
            )
    return worth


def dtype_line(split: str, change: WerChange, dtype: str) -> str:
    """Describe the effect of the encoder's dtype on the error rate."""
    return (
        f"{split}: {dtype} {change.difference:+.2f} points [{change.low:+.2f}, {change.high:+.2f}] "
        f"from {change.wer_float32:.2f} % in float32"
    )
