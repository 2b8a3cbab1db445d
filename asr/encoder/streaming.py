"""Encoding streams block by block: the state between blocks, and one step.

A layer's role in the reuse schedule decides what it stores: whatever it would otherwise have to
project again. A leader stores its keys and values, a follower of `asr.reuse.probs` its values, one
of `asr.reuse.kv` or `asr.reuse.context` nothing, and every convolution the past frames that its
kernel covers. A map belongs to the queries of one block and is never stored.

Shape legend: B streams, T feature frames, F mel bins, W frames of a block, C of its chunk, D model
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.encoder.stack import Encoder, Passage
from asr.nn.chunks import ChunkContext, Past
from asr.nn.frames import Frames
from asr.types import EncoderOutput


@dataclass(frozen=True, slots=True)
class EncoderState:
    """What the next block of B streams needs from earlier blocks.

    ``num_seen_B`` counts the frames of each stream so far. ``kept`` are (B, n, ...) tensors in the
    order in which the layers use them.
    """

    context: ChunkContext
    num_seen_B: Tensor
    kept: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.num_seen_B)

    def __getitem__(self, stream: int) -> EncoderState:
        """Return the state of one stream."""
        rows = slice(stream, stream + 1)
        return EncoderState(
            self.context,
            self.num_seen_B[rows].clone(),
            tuple(one[rows].clone() for one in self.kept),
        )

    @classmethod
    def stacked(cls, states: Sequence[EncoderState]) -> EncoderState:
        """Return one state for all streams of ``states``, which must share their context.

        Raises:
            ValueError: their contexts differ.
        """
        if len({state.context for state in states}) != 1:
            raise ValueError("streams with other chunks cannot be encoded together")
        if len(states) == 1:
            return states[0]
        return cls(
            states[0].context,
            torch.cat([state.num_seen_B for state in states]),
            tuple(map(torch.cat, zip(*(state.kept for state in states), strict=True))),
        )

    def stream_bytes(self) -> int:
        """Return the bytes that one stream stores."""
        return sum(one[0].nbytes for one in self.kept)


def start_streams(encoder: Encoder, context: ChunkContext, num_streams: int = 1) -> EncoderState:
    """Return the state of new streams.

    Raises:
        InputError: the encoder has attention that needs whole utterances.
    """
    encoder.check_chunks()
    like = next(encoder.parameters())
    num_seen_B = torch.zeros(num_streams, dtype=torch.long, device=like.device)
    frames = (1 + context.block_frames) * encoder.subsampling_factor
    silence_BTF = like.new_zeros(num_streams, frames, encoder.num_mel_bins)
    with torch.inference_mode():
        _, keeps = _step(encoder, silence_BTF, num_seen_B, context, num_seen_B, None)
    return EncoderState(context, num_seen_B, tuple(map(torch.zeros_like, keeps)))


def encode_block(
    encoder: Encoder, features_BTF: Tensor, lengths_B: Tensor, state: EncoderState
) -> tuple[EncoderOutput, EncoderState]:
    """Encode one block of every stream; return the chunk's frames (B, C, D) and the next state.

    ``features_BTF`` holds ``(1 + W) * subsampling_factor`` frames: as many as one encoder frame
    needs from before the block (arbitrary at the start), then the block. ``lengths_B`` counts the
    frames of the block that belong to the stream: all, unless it ends here.
    """
    frames_BWD, keeps = _step(
        encoder, features_BTF, lengths_B, state.context, state.num_seen_B, state.kept
    )
    chunk = state.context.chunk_frames
    num_frames_B = subsampled(lengths_B, encoder.subsampling_factor).clamp_max(chunk)
    following = EncoderState(state.context, state.num_seen_B + chunk, tuple(keeps))
    return EncoderOutput(encoder.norm(frames_BWD[:, :chunk]), num_frames_B), following


def _step(
    encoder: Encoder,
    features_BTF: Tensor,
    lengths_B: Tensor,
    context: ChunkContext,
    num_seen_B: Tensor,
    kept: Sequence[Tensor] | None,
) -> tuple[Tensor, list[Tensor]]:
    """Return the frames (B, W, D) of the last layer, and the tensors to store."""
    factor, dtype = encoder.subsampling_factor, encoder.dtype
    at_T = torch.arange(features_BTF.shape[1], device=features_BTF.device) - factor
    before_B1 = torch.where(num_seen_B > 0, factor, 0).unsqueeze(1)
    mask_BT = (at_T < -before_B1) | (at_T >= lengths_B.unsqueeze(1))
    x_BWD = encoder.subsampling.block(features_BTF.to(dtype), mask_BT).to(dtype)
    lengths_B = subsampled(lengths_B, factor)
    past = Past(context, num_seen_B, lengths_B, kept)
    frames = Frames(
        torch.arange(x_BWD.shape[1], device=x_BWD.device) >= lengths_B.unsqueeze(1),
        encoder.position_table(context.seen_frames, x_BWD),
        past,
    )
    passage, _ = encoder.run_layers(range(encoder.num_layers), Passage(x_BWD, frames))
    return passage.x_BTD, past.keeps


def subsampled(lengths_B: Tensor, factor: int) -> Tensor:
    """Return the number of encoder frames for ``lengths_B`` feature frames."""
    return -torch.div(-lengths_B, factor, rounding_mode="floor")
