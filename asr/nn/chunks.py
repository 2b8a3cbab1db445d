"""Chunked encoding: what each frame sees, for whole utterances and for live streams.

A chunk of C frames sees itself, L = ``left_frames`` before it and R = ``right_frames`` after it,
whatever the depth of the encoder: the R frames after a chunk are encoded with it as a copy, as in
Emformer (Shi et al. 2021), and once more as part of their own chunk. A block is a chunk with its
copy. `Blocks` cuts whole utterances into blocks, which form the batch; `Past` stores what the next
block of a live stream needs from the current one. Both have the method `extended`, so a layer need
not know whether it streams.

Shape legend: B utterances or streams, T frames, E blocks (N of each utterance, or one of each
stream), W = C + R frames of a block, S = L + W frames that a block sees, D any width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from asr.errors import InputError
from asr.ranges import ChunkFrames, ContextFrames, Share, in_ranges


class ChunkContext(NamedTuple):
    """What a frame sees: its chunk, and a number of frames before and after it."""

    chunk_frames: int
    left_frames: int
    right_frames: int = 0

    @property
    def block_frames(self) -> int:
        """W, the frames of a block."""
        return self.chunk_frames + self.right_frames

    @property
    def seen_frames(self) -> int:
        """S, the frames that a block sees."""
        return self.left_frames + self.block_frames


@in_ranges("encoder")
@dataclass(frozen=True, kw_only=True)
class DynamicChunks:
    """Chunk sizes drawn in training, so that one model serves every latency.

    A share ``whole_share`` of the batches sees everything; each other batch draws its chunk size
    from ``chunk_frames`` (Zhang et al. 2020, U2). All sizes are in encoder frames.

    Raises:
        InputError: ``chunk_frames`` is empty.
    """

    chunk_frames: list[ChunkFrames]
    left_frames: ContextFrames
    right_frames: ContextFrames
    whole_share: Share

    def __post_init__(self) -> None:
        if not self.chunk_frames:
            raise InputError("encoder.chunk_frames=[]: allowed: one size or more, or null")

    @classmethod
    def of(
        cls,
        chunk_frames: list[int] | None,
        *,
        left_frames: int,
        right_frames: int,
        whole_share: float,
    ) -> DynamicChunks | None:
        """Return None if ``chunk_frames`` is None: every frame sees all frames."""
        if chunk_frames is None:
            return None
        return cls(
            chunk_frames=chunk_frames,
            left_frames=left_frames,
            right_frames=right_frames,
            whole_share=whole_share,
        )

    def draw(self) -> ChunkContext | None:
        """Draw what a batch sees, None for everything, with torch's random generator."""
        if float(torch.rand(())) < self.whole_share:
            return None
        index = int(torch.randint(len(self.chunk_frames), ()))
        return self.context(self.chunk_frames[index])

    def context(self, chunk_frames: int) -> ChunkContext:
        """Return the context for this chunk size, with left and right frames as in training."""
        return ChunkContext(chunk_frames, self.left_frames, self.right_frames)


class Window(Protocol):
    """The blocks of a forward pass, and the frames before them."""

    context: ChunkContext
    hidden_ES: Tensor
    """(E, S) bool, True = padding or outside the utterance; see `hidden_frames`."""

    def extended(self, x_EWD: Tensor, num_left: int) -> Tensor:
        """Return (E, num_left + W, D): each block after the frames before it, zero if none."""


class Blocks:
    """The blocks of whole utterances."""

    def __init__(self, context: ChunkContext, lengths_B: Tensor, num_frames: int) -> None:
        self.context = context
        self.num_frames = num_frames
        self.num_blocks = -(-num_frames // context.chunk_frames)
        first_N = context.chunk_frames * torch.arange(self.num_blocks, device=lengths_B.device)
        self.first_E = first_N.repeat(len(lengths_B))
        self.lengths_E = lengths_B.repeat_interleave(self.num_blocks)
        self.hidden_ES = hidden_frames(self.first_E, self.lengths_E, context)

    @property
    def padding_mask(self) -> Tensor:
        """(E, W) bool, True = padding."""
        frames_W = torch.arange(self.context.block_frames, device=self.first_E.device)
        return self.first_E[:, None] + frames_W >= self.lengths_E[:, None]

    def cut(self, x_BTD: Tensor) -> Tensor:
        """Cut (B, T, D) into blocks (E, W, D)."""
        chunk, right = self.context.chunk_frames, self.context.right_frames
        missing = self.num_blocks * chunk + right - self.num_frames
        x_BTD = functional.pad(x_BTD, (0, 0, 0, missing))
        if not right:
            return x_BTD.reshape(-1, chunk, x_BTD.shape[2])
        return windows(x_BTD, self.context.block_frames, chunk).flatten(0, 1)

    def joined(self, x_EWD: Tensor) -> Tensor:
        """Join the chunks of (E, W, D) to (B, T, D)."""
        return self._in_a_row(x_EWD)[:, : self.num_frames]

    def extended(self, x_EWD: Tensor, num_left: int) -> Tensor:
        """See `Window`."""
        if not num_left:
            return x_EWD
        before_BTD = functional.pad(self._in_a_row(x_EWD), (0, 0, num_left, 0))
        left_BNLD = windows(before_BTD, num_left, self.context.chunk_frames)[:, : self.num_blocks]
        return torch.cat([left_BNLD.flatten(0, 1), x_EWD], 1)

    def _in_a_row(self, x_EWD: Tensor) -> Tensor:
        """Return (B, N * C, D)."""
        chunks_ECD = x_EWD[:, : self.context.chunk_frames]
        return chunks_ECD.reshape(-1, self.num_blocks * chunks_ECD.shape[1], x_EWD.shape[2])


class Past:
    """The next block of each live stream, and the frames stored from earlier blocks.

    ``kept`` holds what the calls of `extended` stored in the previous step, in order; None at the
    start. ``keeps`` collects the same for the next step.
    """

    def __init__(
        self,
        context: ChunkContext,
        num_seen_B: Tensor,
        lengths_B: Tensor,
        kept: Sequence[Tensor] | None,
    ) -> None:
        self.context = context
        self.hidden_ES = hidden_frames(num_seen_B, num_seen_B + lengths_B, context)
        self.keeps: list[Tensor] = []
        self._kept: Iterator[Tensor] | None = None if kept is None else iter(kept)

    def extended(self, x_EWD: Tensor, num_left: int) -> Tensor:
        """See `Window`."""
        if not num_left:
            return x_EWD
        if self._kept is None:
            left_ELD = x_EWD.new_zeros(len(x_EWD), num_left, x_EWD.shape[2])
        else:
            left_ELD = next(self._kept)
        seen_ESD = torch.cat([left_ELD, x_EWD], 1)
        chunk = self.context.chunk_frames
        self.keeps.append(seen_ESD[:, chunk : chunk + num_left].clone())
        return seen_ESD


def windows(x_BTD: Tensor, size: int, step: int) -> Tensor:
    """Return (B, N, size, D): a window every ``step`` frames."""
    return x_BTD.unfold(1, size, step).transpose(2, 3)


def hidden_frames(first_E: Tensor, lengths_E: Tensor, context: ChunkContext) -> Tensor:
    """Return (E, S) bool, True where a visible position lies outside the utterance.

    ``first_E`` is the first frame of each block, ``lengths_E`` the number of frames of its
    utterance. A block after the end sees everything: its output is not read, but must not be NaN.
    """
    seen_S = torch.arange(context.seen_frames, device=first_E.device) - context.left_frames
    frames_ES = first_E[:, None] + seen_S
    hidden_ES = (frames_ES < 0) | (frames_ES >= lengths_E[:, None])
    return hidden_ES & ~hidden_ES.all(1, keepdim=True)
