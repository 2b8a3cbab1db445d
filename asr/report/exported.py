"""Exported files beside the model they come from: what they compute, write, weigh and cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from asr.metrics.latency import Timing, measure, ratio
from asr.metrics.wer import WordErrors
from asr.model.build import build
from asr.model.onnx.export import encoder_session
from asr.model.onnx.file import OUTPUTS, OnnxModel, parse_onnx
from asr.model.onnx.graph import FEATURE_LENGTHS, FEATURES, FRAMES
from asr.model.package import ModelPackage
from asr.report.agreement import TORCH, Agreement, Sample, agreements
from asr.report.encoders import forward_pass, random_features
from asr.report.plain import to_plain
from asr.report.record import SplitWer, length_key
from asr.report.table import Column, Table
from asr.report.units import number_text, percent_text

FLOAT32, INT8 = "onnx fp32", "onnx int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRow:
    """One program that computes the model.

    ``agreement`` of the model itself holds its word errors; ``timings`` are of the encoder, by
    length in seconds.
    """

    runtime: str
    size_mib: float
    agreement: Agreement
    timings: dict[float, Timing]

    @property
    def wer(self) -> dict[str, SplitWer]:
        """By split, where there are transcripts."""
        return {
            split: SplitWer.from_errors(errors) for split, errors in self.agreement.errors.items()
        }

    @property
    def changed(self) -> float | None:
        """Words that differ from those of the model, in percent of those that it writes.

        None where the model was given no speech.
        """
        words = self.agreement.changed
        return WordErrors.total(words).wer if words else None


def compare_exported(
    package: ModelPackage,
    contents: Mapping[str, bytes],
    samples: Sequence[Sample],
    *,
    lengths_s: Sequence[float],
    repeats: int,
) -> list[ExportRow]:
    """The model itself, then every exported file, loaded from its bytes.

    Raises:
        InputError: a file cannot be loaded.
    """
    loaded = {name: parse_onnx(content, where=name).model for name, content in contents.items()}
    outputs = {name: partial(frames_too, model) for name, model in loaded.items()}
    decoder = build(package.config["decode"], "decode")
    found = agreements(package, outputs, samples, decoder)
    timings = time_encoders(package, contents, lengths_s, repeats=repeats)
    sizes = {TORCH: weights_size(package), **{name: len(one) for name, one in contents.items()}}
    return [
        ExportRow(
            runtime=name,
            size_mib=size / 2**20,
            agreement=found[name],
            timings={length_s: timings[length_s][name] for length_s in timings},
        )
        for name, size in sizes.items()
    ]


def frames_too(
    model: OnnxModel, waveforms_BN: Tensor, lengths_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log probabilities, lengths and encoder frames of an exported model."""
    log_probs_BTV, frame_lengths_B, frames_BTD = model.outputs(
        waveforms_BN, lengths_B, [*OUTPUTS, FRAMES]
    )
    return log_probs_BTV, frame_lengths_B, frames_BTD


def weights_size(package: ModelPackage) -> int:
    """Bytes of the weights of a model."""
    return sum(one.numel() * one.element_size() for one in package.model.state_dict().values())


def time_encoders(
    package: ModelPackage,
    contents: Mapping[str, bytes],
    lengths_s: Sequence[float],
    *,
    repeats: int,
) -> dict[float, dict[str, Timing]]:
    """Encoder latency of the model and of exported files, in alternation, on random features."""
    encoder, frontend = package.model.encoder, package.model.frontend
    encoder.keep_between_calls()
    sessions = {
        name: encoder_session(content, frontend.num_mel_bins) for name, content in contents.items()
    }
    timings = {}
    for length_s in lengths_s:
        shift_ms = frontend.frame_shift_ms
        features, lengths = random_features(encoder.num_mel_bins, length_s, 1, shift_ms, "cpu")
        inputs = {FEATURES: features, FEATURE_LENGTHS: lengths}
        calls: dict[str, Callable[[], object]] = {
            TORCH: forward_pass(encoder, length_s, 1, shift_ms, "cpu"),
            **{name: partial(one, inputs, [FRAMES]) for name, one in sessions.items()},
        }
        timings[length_s] = measure(calls, repeats=repeats, warmup=2)
    return timings


def export_table(rows: Sequence[ExportRow]) -> Table:
    """One row a program; times are followed by their ratio to that of the first."""
    first = rows[0]
    changed = [row.changed for row in rows if row.changed is not None]
    frames = "frames" if changed else "frames of noise"
    columns = [
        Column("program", tuple(row.runtime for row in rows), align_right=False),
        Column("MiB", tuple(number_text(row.size_mib) for row in rows)),
        Column(f"{frames}: error, relative", tuple(_error_text(row.agreement) for row in rows)),
    ]
    if changed:
        columns.append(Column("words changed %", tuple(map(percent_text, changed))))
    for split in first.wer:
        columns.append(Column(f"WER % {split}", tuple(_wer_text(row, split) for row in rows)))
    for length_s in first.timings:
        header = f"{length_key(length_s)} s: ms, of {first.runtime}"
        texts = tuple(_time_text(row, first, length_s) for row in rows)
        columns.append(Column(header, texts))
    return Table(tuple(columns))


def _error_text(agreement: Agreement) -> str:
    return f"{agreement.largest:.1e}, {agreement.relative:.1e}"


def _wer_text(row: ExportRow, split: str) -> str:
    wer = row.wer[split]
    return f"{percent_text(wer.wer)} [{percent_text(wer.low)}, {percent_text(wer.high)}]"


def _time_text(row: ExportRow, first: ExportRow, length_s: float) -> str:
    timing = row.timings[length_s]
    return f"{number_text(timing.median_ms)}, {ratio(timing, first.timings[length_s]):.2f}"


def export_rows(rows: Sequence[ExportRow], **common: object) -> list[dict[str, Any]]:
    """The rows of ``--json``, each with what is ``common`` to them."""
    first = rows[0]
    return [
        {
            **to_plain(common),
            "runtime": row.runtime,
            "size_mib": row.size_mib,
            "encoder_error": {
                "largest": row.agreement.largest,
                "relative": row.agreement.relative,
            },
            "words_changed": to_plain(row.changed),
            "wer": to_plain(row.wer),
            "latency_ms": {
                length_key(length_s): {"median": one.median_ms, "p90": one.p90_ms}
                for length_s, one in row.timings.items()
            },
            "time_vs_torch": {
                length_key(length_s): ratio(one, first.timings[length_s])
                for length_s, one in row.timings.items()
            },
        }
        for row in rows
    ]
