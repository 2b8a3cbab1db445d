"""Followers reuse only the part of the leader's map near the diagonal: a cheaper map reuse.

As in `asr.reuse.probs` (Shim, Choi and Sung 2022, 2023), but a follower uses only the entries up to
``width`` frames from the diagonal, renormalised to sum to one; this restriction is ours. The leader
uses its full map, which exists for one tile of rows at a time. The band of a tile is the softmax of
its scores over the near keys alone, which equals the map renormalised. The carry and a follower's
cost grow with T, not with its square.

Shape legend: B batch, T frames, D model width, H heads, R rows of a tile, S keys near these rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.profiling.attention_steps import mixing, normalising
from asr.ranges import FrameSpan, in_ranges
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    LayerAttention,
    SelfAttention,
    check_frame_rate,
)
from asr.reuse.grouping import GroupReuse


@dataclass(frozen=True, slots=True)
class BandCarry(AttentionCarry):
    """The leader's map near its diagonal, in tiles of rows."""

    band_BHRS: tuple[Tensor, ...]


class LeadBand(SelfAttention):
    """Attends with its full map, tile by tile, and passes on the band of each tile."""

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, width: int) -> None:
        super().__init__(scores, mix)
        self.width = width

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and a carry with the band of this layer's map."""
        q_BHTK, keys = self.scores.project(x_BTD, frames)
        v_BHTK = self.mix.project(x_BTD, frames)
        band_BHRS, contexts_BHRK = [], []
        row = frames.num_before
        for scores_BHRT in self.scores.positions.score_tiles(q_BHTK, keys):
            band_BHRS.append(band_of(scores_BHRT, row, self.width, frames.hidden))
            contexts_BHRK.append(self.mix.attend(scores_BHRT, v_BHTK, frames.hidden))
            row += scores_BHRT.shape[2]
        with mixing:
            context_BHTK = torch.cat(contexts_BHRK, 2)
        return self.mix.merge(context_BHTK), BandCarry(band_BHRS=tuple(band_BHRS))


class FollowBand(LayerAttention):
    """Mixes its own values by the band of the leader's map."""

    def __init__(self, mix: ValueMix, *, width: int) -> None:
        super().__init__()
        self.mix = mix
        self.width = width

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), and the carry unchanged for the next follower."""
        bands_BHRS = BandCarry.of(carry).band_BHRS
        if len(bands_BHRS) == 1 and frames.window is None:
            # The band is a whole map, for which there is a kernel on CUDA.
            return self.mix(x_BTD, bands_BHRS[0], frames), carry
        v_BHTK = self.mix.project(x_BTD, frames)
        contexts_BHRK = [
            self.mix.mix(band_BHRS, v_BHTK[:, :, near])
            for _, near, band_BHRS in self._tiles(x_BTD, frames, BandCarry.of(carry))
        ]
        with mixing:
            context_BHTK = torch.cat(contexts_BHRK, 2)
        return self.mix.merge(context_BHTK), carry

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return the leader's map, renormalised over the band and zero outside."""
        carry = BandCarry.of(carry)
        batch, num_heads = carry.band_BHRS[0].shape[:2]
        shape = (batch, num_heads, x_BTD.shape[1], frames.num_seen(x_BTD))
        probs_BHTT = x_BTD.new_zeros(shape)
        for rows, near, band_BHRS in self._tiles(x_BTD, frames, carry):
            probs_BHTT[:, :, rows, near] = band_BHRS
        return probs_BHTT

    def _tiles(
        self, x_BTD: Tensor, frames: Frames, carry: BandCarry
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield the rows of each tile, the keys near them, and its band."""
        num_rows = [band_BHRS.shape[2] for band_BHRS in carry.band_BHRS]
        check_frame_rate(sum(num_rows), x_BTD.shape[1])
        row, before, num_seen = 0, frames.num_before, frames.num_seen(x_BTD)
        for band_BHRS in carry.band_BHRS:
            rows = slice(row, row + band_BHRS.shape[2])
            at = slice(rows.start + before, rows.stop + before)
            yield rows, keys_near(at, self.width, num_seen), band_BHRS
            row = rows.stop


def keys_near(rows: slice, width: int, num_frames: int) -> slice:
    """Return the range of frames at most ``width`` from one of ``rows``."""
    return slice(max(0, rows.start - width), min(num_frames, rows.stop + width))


@normalising
def band_of(scores_BHRT: Tensor, row: int, width: int, padding_mask: Tensor | None) -> Tensor:
    """Return probabilities (B, H, R, S) over the keys at most ``width`` from each row.

    The first row is ``row``. Padding rows with no valid key nearby have arbitrary, but finite,
    values.
    """
    num_rows, num_frames = scores_BHRT.shape[2:]
    near = keys_near(slice(row, row + num_rows), width, num_frames)
    rows_R = torch.arange(row, row + num_rows, device=scores_BHRT.device)
    near_S = torch.arange(near.start, near.stop, device=scores_BHRT.device)
    hidden = (near_S - rows_R.unsqueeze(1)).abs() > width
    if padding_mask is not None:
        hidden = hidden | padding_mask[:, None, None, near]
    lowest = torch.finfo(scores_BHRT.dtype).min
    return scores_BHRT[..., near].masked_fill(hidden, lowest).softmax(-1)


@in_ranges("reuse")
@dataclass(frozen=True, kw_only=True)
class ReuseBand(GroupReuse):
    """Reuse of the map near its diagonal on the given grouping.

    ``width`` is the number of frames on either side of the diagonal that a follower uses.
    """

    name: ClassVar[str] = "band"
    width: FrameSpan = 16

    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Return scores and mix."""
        return LeadBand(parts.scores(), parts.mix(), width=self.width)

    def follow(self, parts: AttentionParts) -> LayerAttention:
        """Return a mix."""
        return FollowBand(parts.mix(), width=self.width)
