"""Comparison of exported steps of live streams with their model: outputs, words, size, time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from asr.decode.search import build_search
from asr.encoder.streaming import EncoderState, start_streams
from asr.interop.onnx.file import Session
from asr.interop.onnx.stream_step import KEPT, STREAM, StepSession, StreamStep
from asr.measure.exported import TORCH, ExportRow, agreements, weights_size
from asr.measure.samples import Sample
from asr.model.asr_model import AsrModel
from asr.model.package import ModelPackage
from asr.nn.chunks import ChunkContext
from asr.profiling.latency import time_alternating

StepCall = Callable[[Tensor, Tensor, EncoderState], tuple[Tensor, Tensor, Tensor, EncoderState]]
"""Maps a block's features, lengths and state to log probabilities, lengths, frames and state."""


def compare_steps(
    package: ModelPackage,
    contents: Mapping[str, bytes],
    samples: Sequence[Sample],
    context: ChunkContext,
    *,
    repeats: int,
) -> list[ExportRow]:
    """Compare the model, on whole files in the same chunks, with exported files, block by block.

    Raises:
        InputError: a file cannot be loaded or run.
    """
    model = package.model
    steps: dict[str, StepCall] = {
        name: session_of(content, name) for name, content in contents.items()
    }
    found = agreements(
        package,
        {name: partial(block_by_block, model, step, context) for name, step in steps.items()},
        samples,
        build_search(package.config["decode"], model, package),
        context=context,
    )
    timings = time_alternating(
        {
            name: next_exported_block(model, step, context)
            for name, step in {TORCH: torch_step(model, context), **steps}.items()
        },
        repeats=repeats,
        warmup=3,
    )
    chunk_s = context.chunk_frames * model.frame_shift_s
    sizes = {
        TORCH: weights_size(model),
        **{name: len(one) for name, one in contents.items()},
    }
    return [
        ExportRow(
            runtime=name,
            size_mib=size / 2**20,
            agreement=found[name],
            timings={chunk_s: timings[name]},
        )
        for name, size in sizes.items()
    ]


def session_of(content: bytes, where: str) -> StepSession:
    """Return the step in an exported file."""
    session = Session(content, where=where)
    sizes = json.loads(session.metadata[STREAM])
    return StepSession(session, len(sizes[KEPT]))


def torch_step(model: AsrModel, context: ChunkContext) -> StepCall:
    """Return the step of the model itself."""
    step = StreamStep(model, context)

    def of_model(
        features_BTF: Tensor, lengths_B: Tensor, state: EncoderState
    ) -> tuple[Tensor, Tensor, Tensor, EncoderState]:
        outputs_BCV, found_B, frames_BCD, num_seen_B, *kept = step(
            features_BTF, lengths_B, state.num_seen_B, state.kept
        )
        return outputs_BCV, found_B, frames_BCD, EncoderState(context, num_seen_B, tuple(kept))

    return torch.inference_mode()(of_model)


@torch.inference_mode()
def block_by_block(
    model: AsrModel, step: StepCall, context: ChunkContext, waveforms_BN: Tensor, lengths_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log probabilities (B, T, V), lengths and frames (B, T, D) of whole recordings."""
    features_BTF, lengths_B = model.frontend(waveforms_BN, lengths_B)
    factor, size = model.subsampling_factor, context.block_frames
    padded_BTF = functional.pad(features_BTF, (0, 0, factor, (size + 1) * factor))
    state = start_streams(model.encoder, context, len(features_BTF))
    log_probs, frames = [], []
    num_frames_B = torch.zeros_like(lengths_B)
    for first in range(0, features_BTF.shape[1], context.chunk_frames * factor):
        block_BTF = padded_BTF[:, first : first + (1 + size) * factor].contiguous()
        log_probs_BCV, found_B, frames_BCD, state = step(
            block_BTF, (lengths_B - first).clamp(0, size * factor), state
        )
        log_probs.append(log_probs_BCV)
        frames.append(frames_BCD)
        num_frames_B += found_B
    return torch.cat(log_probs, 1), num_frames_B, torch.cat(frames, 1)


def next_exported_block(
    model: AsrModel, step: StepCall, context: ChunkContext
) -> Callable[[], object]:
    """Return a call for one block of a stream that has run for a long time, always the same."""
    state = start_streams(model.encoder, context)
    kept = tuple(torch.randn_like(one) for one in state.kept)
    state = replace(state, num_seen_B=state.num_seen_B + 10_000, kept=kept)
    size = context.block_frames * model.subsampling_factor
    features_BTF = torch.randn(1, size + model.subsampling_factor, model.frontend.num_mel_bins)
    return partial(step, features_BTF, torch.tensor([size]), state)
