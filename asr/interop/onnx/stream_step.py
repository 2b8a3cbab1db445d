"""One block of live streams as an ONNX graph; the state of the streams is input and output.

Inputs: ``features`` (B, (1 + W) * factor, F), ``feature_lengths`` (B,), ``num_seen`` (B,) and
``kept.0``, ``kept.1`` and so on. Outputs: ``log_probs`` (B, C, V), ``frame_lengths`` (B,),
``frames`` (B, C, D), ``num_seen.next``, ``kept.0.next`` and so on, which are inputs for the next
block. See `asr.encoder.streaming`.

Shape legend: B streams, F mel bins, W frames of a block, C of its chunk, D model width,
V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asr.encoder.streaming import EncoderState, encode_block, start_streams
from asr.interop.onnx.export import ExportedGraph
from asr.interop.onnx.file import Session, metadata_of
from asr.interop.onnx.graph import (
    FEATURE_LENGTHS,
    FEATURES,
    FRAME_LENGTHS,
    FRAMES,
    LOG_PROBS,
    export_module,
)
from asr.model.asr_model import AsrModel
from asr.model.package import ModelPackage
from asr.nn.chunks import ChunkContext

NUM_SEEN, KEPT, NEXT = "num_seen", "kept", ".next"
STREAM = "encore.stream"
"""Metadata key for the sizes of a block, as JSON."""


class StreamStep(nn.Module):
    """`encode_block` and the head, as a module with tensors as its only inputs and outputs."""

    def __init__(self, model: AsrModel, context: ChunkContext) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.head = model.head
        self.context = context

    def forward(
        self, features_BTF: Tensor, lengths_B: Tensor, num_seen_B: Tensor, kept: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """Return log probabilities, lengths, frames, and the state after the block."""
        state = EncoderState(self.context, num_seen_B, tuple(kept))
        encoded, state = encode_block(self.encoder, features_BTF, lengths_B, state)
        outputs_BCV = self.head(encoded.frames_BTD)
        return outputs_BCV, encoded.lengths_B, encoded.frames_BTD, state.num_seen_B, *state.kept


class ExportedStep(ExportedGraph):
    """The exported step of a package.

    Raises:
        InputError: the model needs whole utterances, or has operations that ONNX lacks.
    """

    def __init__(self, package: ModelPackage, context: ChunkContext) -> None:
        model = package.model
        state = start_streams(model.encoder, context, 2)
        factor = model.subsampling_factor
        size = (1 + context.block_frames) * factor
        sample = (
            torch.zeros(2, size, model.frontend.num_mel_bins),
            torch.tensor([size - factor, factor]),
            state.num_seen_B + context.chunk_frames,
            list(state.kept),
        )
        names = [f"{KEPT}.{index}" for index in range(len(state.kept))]
        batch = {0: torch.export.Dim.DYNAMIC}
        graph = export_module(
            StreamStep(model, context).eval(),
            sample,
            inputs=[FEATURES, FEATURE_LENGTHS, NUM_SEEN, *names],
            outputs=[
                *(LOG_PROBS, FRAME_LENGTHS, FRAMES, NUM_SEEN + NEXT),
                *(name + NEXT for name in names),
            ],
            dynamic_shapes=(batch, batch, batch, [batch] * len(names)),
            what=f"the stream of a model with reuse={model.encoder.reuse.name}",
        )
        sizes = {**context._asdict(), KEPT: [list(one.shape[1:]) for one in state.kept]}
        text = (
            "One block of live streams. features: those of one encoder frame before it, then its "
            f"own; {NUM_SEEN} and {KEPT}.*: zero at the start, then the outputs *{NEXT}."
        )
        super().__init__(graph, {**metadata_of(package), STREAM: json.dumps(sizes)}, text)


class StepSession:
    """The loaded graph of an `ExportedStep`, with ``num_kept`` tensors of state."""

    def __init__(self, session: Session, num_kept: int) -> None:
        self._session = session
        self._names = [f"{KEPT}.{index}" for index in range(num_kept)]

    def __call__(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        state: EncoderState,
        *,
        limit_s: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, EncoderState]:
        """Return log probabilities (B, C, V), lengths, frames (B, C, D), and the next state.

        Raises:
            InputError: see `Session`.
        """
        kept = dict(zip(self._names, state.kept, strict=True))
        outputs = [LOG_PROBS, FRAME_LENGTHS, FRAMES, NUM_SEEN + NEXT]
        log_probs_BCV, found_B, frames_BCD, num_seen_B, *after = self._session(
            {
                FEATURES: features_BTF,
                FEATURE_LENGTHS: lengths_B,
                NUM_SEEN: state.num_seen_B,
                **kept,
            },
            [*outputs, *(name + NEXT for name in self._names)],
            limit_s=limit_s,
        )
        following = EncoderState(state.context, num_seen_B, tuple(after))
        return log_probs_BCV, found_B, frames_BCD, following
