"""`asr compare` of live streams: error rate, time and memory at each length of the chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from asr.cli.bench import Configs, metric_spec
from asr.cli.run_folder import RunFolder
from asr.cli.run_summary import log
from asr.cli.training_run import Chunks, evaluate_splits
from asr.cli.training_setup import check_model, splits_of
from asr.decode.stream_encoder import NOT_A_STREAM, check_streams, chunk_context
from asr.errors import InputError
from asr.measure.streaming import measure_streaming
from asr.profiling.streaming import StreamingSpec
from asr.report.points import StreamingPoint
from asr.report.record import RunRecord, SplitWer, length_key

StreamingWer = dict[str, dict[str, SplitWer]]


def compared_chunks(lengths_ms: Sequence[float], configs: Configs) -> dict[str, list[Chunks]]:
    """Return the chunks to compare at, by run; empty if neither the command nor the recipe asks.

    ``lengths_ms`` is what the command names. Otherwise chunks are those of ``metrics.streaming``.
    What frames see before and after their chunk is as in training.

    Raises:
        InputError: a model cannot stream, or not in such chunks.
    """
    spec = metric_spec(configs, "streaming", StreamingSpec)
    sizes = () if spec is None else spec.chunk_frames
    if not lengths_ms and not sizes:
        return {}
    found = {}
    for name, config in configs.items():
        model = check_model(config)
        if model.encoder.chunks is None:
            raise InputError(f"{name}: {NOT_A_STREAM}")
        check_streams(model)
        frame_ms = 1000 * model.frame_shift_s
        lengths = lengths_ms or [frame_ms * number for number in sizes]
        found[name] = [
            Chunks(length_key(round(length, 6)), chunk_context(length, model))
            for length in dict.fromkeys(lengths)
        ]
    return found


def time_streams(
    configs: Configs, chunks: Mapping[str, Sequence[Chunks]], device: torch.device
) -> dict[str, tuple[StreamingPoint, ...]]:
    """Time the encoders of all rows together, with the settings of ``metrics.streaming``."""
    spec = metric_spec(configs, "streaming", StreamingSpec) or StreamingSpec()
    contexts = {name: [one.context for one in of_run] for name, of_run in chunks.items()}
    return measure_streaming(configs, spec, contexts=contexts, device=device, report=log)


def score_streams(
    record: RunRecord,
    folder: RunFolder,
    chunks: Sequence[Chunks],
    device: torch.device,
    exit: int | None,
) -> StreamingWer:
    """Return the error rates by chunk length and split; those in the run's record are kept."""
    known = record.streaming_wer if exit is None else {}
    splits = splits_of(record.config)
    missing = [one for one in chunks if {*splits.test} - {*known.get(one.length_ms, {})}]
    utterances = {split: splits.read(split) for split in splits.test} if missing else {}
    found = dict(known)
    for one in missing:
        evaluations = evaluate_splits(folder, splits, utterances, device, exit, one)
        found[one.length_ms] = {split: each.wer for split, each in evaluations.items()}
    return found
