"""Comparison of exported ONNX files with their model: outputs, words, file size and latency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from asr.decode.search import Search, build_search
from asr.encoder.precision import compute_in
from asr.encoder.stack import Encoder
from asr.interop.onnx.export import encoder_session
from asr.interop.onnx.file import OUTPUTS, OnnxModel, parse_onnx
from asr.interop.onnx.graph import FEATURE_LENGTHS, FEATURES, FRAMES
from asr.measure.encoders import forward_pass, random_features
from asr.measure.samples import Sample
from asr.metrics.wer import WordErrors, align_words
from asr.model.asr_model import AsrModel
from asr.model.package import ModelPackage
from asr.nn.chunks import ChunkContext
from asr.nn.int8 import packed_bytes, runs_int8
from asr.profiling.latency import Timing, ratio, time_alternating
from asr.report.plain import to_plain
from asr.report.record import SplitWer, length_key
from asr.report.table import Column, Table, number_text, percent_text

TORCH, TORCH_INT8 = "torch fp32", "torch int8"
"""The model itself and the model with 8-bit products, among the compared programs."""

Outputs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Maps waveforms (B, N) and lengths to log probabilities (B, T, V), lengths, frames (B, T, D)."""


@dataclass(slots=True)
class Agreement:
    """The differences of a program from the model, summed over samples.

    ``errors`` by split are against transcripts, ``changed`` against the model's own text, one each
    per utterance.
    """

    largest: float = 0.0
    squared_error: float = 0.0
    squared: float = 0.0
    errors: dict[str, list[WordErrors]] = field(default_factory=dict)
    changed: list[WordErrors] = field(default_factory=list)

    @property
    def relative(self) -> float:
        """Root mean square error of the encoder frames, relative to that of the frames."""
        return float((self.squared_error / self.squared) ** 0.5)

    def add_texts(self, texts: Sequence[str], originals: Sequence[str], sample: Sample) -> None:
        """Add the texts of the utterances of a sample."""
        pairs = zip(originals, texts, strict=True)
        self.changed += [align_words(original, text)[0] for original, text in pairs]
        if sample.texts is not None:
            pairs = zip(sample.texts, texts, strict=True)
            self.errors.setdefault(sample.split, []).extend(
                align_words(reference, text)[0] for reference, text in pairs
            )

    def add_frames(self, found_SD: Tensor, expected_SD: Tensor) -> None:
        """Add the valid encoder frames of an utterance."""
        difference_SD = found_SD.double() - expected_SD.double()
        self.largest = max(self.largest, float(difference_SD.abs().max()))
        self.squared_error += float(difference_SD.square().sum())
        self.squared += float(expected_SD.double().square().sum())


@torch.inference_mode()
def agreements(
    package: ModelPackage,
    others: Mapping[str, Outputs],
    samples: Iterable[Sample],
    decoder: Search,
    context: ChunkContext | None = None,
) -> dict[str, Agreement]:
    """Compare every other program with the model, and under ``TORCH`` the model with itself.

    ``context`` is how far the model's frames see, None for everything.
    """
    original: Outputs = partial(outputs_of, package.model, package.model.encoder, context)

    def written(log_probs_BTV: Tensor, lengths_B: Tensor) -> list[str]:
        hypotheses = decoder(log_probs_BTV, lengths_B)
        return [package.tokenizer.decode(one.token_ids) for one in hypotheses]

    programs = {TORCH: original, **others}
    found = {name: Agreement() for name in programs}
    for sample in samples:
        _, lengths_B, frames_BTD = own = original(sample.waveforms_BN, sample.lengths_B)
        texts = written(*own[:2])
        for name, program in programs.items():
            log_probs_BTV, found_B, found_BTD = program(sample.waveforms_BN, sample.lengths_B)
            assert torch.equal(found_B, lengths_B)
            for row, length in enumerate(lengths_B.tolist()):
                found[name].add_frames(found_BTD[row, :length], frames_BTD[row, :length])
            if sample.is_speech:
                found[name].add_texts(written(log_probs_BTV, lengths_B), texts, sample)
    return found


FLOAT32, INT8 = "onnx fp32", "onnx int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRow:
    """One program that computes the model.

    ``agreement`` of the model itself holds its word errors; ``timings`` are those of the encoder,
    by length in seconds.
    """

    runtime: str
    size_mib: float
    agreement: Agreement
    timings: dict[float, Timing]

    @property
    def wer(self) -> dict[str, SplitWer]:
        """WER by split, for samples with transcripts."""
        return {
            split: SplitWer.from_errors(errors) for split, errors in self.agreement.errors.items()
        }

    @property
    def changed(self) -> float | None:
        """Words that differ from those of the model, in percent of the model's words.

        None if the samples contain no speech.
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
    """Compare the model itself and every exported file, loaded from its bytes.

    Raises:
        InputError: a file cannot be loaded.
    """
    loaded = {name: parse_onnx(content, where=name).model for name, content in contents.items()}
    outputs: dict[str, Outputs] = {
        name: partial(frames_too, model) for name, model in loaded.items()
    }
    encoders = {TORCH: package.model.encoder}
    if INT8 in contents and runs_int8():
        encoders[TORCH_INT8] = deepcopy(package.model.encoder)
        compute_in(encoders[TORCH_INT8], "int8")
        outputs[TORCH_INT8] = partial(outputs_of, package.model, encoders[TORCH_INT8], None)
    decoder = build_search(package.config["decode"], package.model, package)
    found = agreements(package, outputs, samples, decoder)
    timings = time_encoders(package, encoders, contents, lengths_s, repeats=repeats)
    head = weights_size(package.model) - weights_size(package.model.encoder)
    sizes = {name: head + weights_size(one) for name, one in encoders.items()}
    sizes |= {name: len(content) for name, content in contents.items()}
    return [
        ExportRow(
            runtime=name,
            size_mib=size / 2**20,
            agreement=found[name],
            timings={length_s: timings[length_s][name] for length_s in timings},
        )
        for name, size in sizes.items()
    ]


def outputs_of(
    model: AsrModel,
    encoder: Encoder,
    context: ChunkContext | None,
    waveforms_BN: Tensor,
    lengths_B: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log probabilities, lengths and frames of a model with its encoder replaced."""
    encoded = encoder(*model.frontend(waveforms_BN, lengths_B), context=context)
    return model.head(encoded.frames_BTD), encoded.lengths_B, encoded.frames_BTD


def frames_too(
    model: OnnxModel, waveforms_BN: Tensor, lengths_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log probabilities, lengths and encoder frames of an exported model."""
    log_probs_BTV, frame_lengths_B, frames_BTD = model.outputs(
        waveforms_BN, lengths_B, [*OUTPUTS, FRAMES]
    )
    return log_probs_BTV, frame_lengths_B, frames_BTD


def weights_size(module: nn.Module) -> int:
    """Return the bytes of the module's weights."""
    kept: int = sum(one.nbytes for one in module.state_dict().values())
    return kept + packed_bytes(module)


def time_encoders(
    package: ModelPackage,
    encoders: Mapping[str, Encoder],
    contents: Mapping[str, bytes],
    lengths_s: Sequence[float],
    *,
    repeats: int,
) -> dict[float, dict[str, Timing]]:
    """Return the latency of ``encoders`` and exported files, in alternation, on random features."""
    frontend = package.model.frontend
    for encoder in encoders.values():
        encoder.keep_between_calls()
    sessions = {
        name: encoder_session(content, frontend.num_mel_bins) for name, content in contents.items()
    }
    timings = {}
    for length_s in lengths_s:
        shift_ms = frontend.frame_shift_ms
        features, lengths = random_features(frontend.num_mel_bins, length_s, 1, shift_ms, "cpu")
        inputs = {FEATURES: features, FEATURE_LENGTHS: lengths}
        calls: dict[str, Callable[[], object]] = {
            **{
                name: forward_pass(encoder, length_s, 1, shift_ms, "cpu")
                for name, encoder in encoders.items()
            },
            **{name: partial(one, inputs, [FRAMES]) for name, one in sessions.items()},
        }
        timings[length_s] = time_alternating(calls, repeats=repeats, warmup=2)
    return timings


def export_table(rows: Sequence[ExportRow]) -> Table:
    """Return a table with one row per program, and the ratios of times to the first program's."""
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
    """Return the rows of ``--json``, each with the fields in ``common``."""
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
