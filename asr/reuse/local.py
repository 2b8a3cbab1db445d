"""Local attention: every query sees a window of frames around it, and the cost is linear in T.

The windows are those of Longformer (Beltagy et al. 2020, section 3.1). Scores outside the window
are never computed: each tile of rows attends only to the slice of keys that its rows can see.

Shape legend: B batch, T frames, D model width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.nn.positions import visible
from asr.ranges import FrameSpan, in_ranges
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    EveryLayerAlone,
    LayerAttention,
    SelfAttention,
)
from asr.reuse.schedule import LayerRole


class LocalAttention(SelfAttention):
    """Self-attention to ``width`` frames on either side."""

    works_in_chunks: ClassVar[bool] = False

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, width: int) -> None:
        super().__init__(scores, mix)
        self.width = width

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), and the carry unchanged."""
        positions = self.scores.positions
        near_table = positions.table_near(frames.position_table, self.width)
        q_BHTK, keys = self.scores.project(x_BTD, replace(frames, position_table=near_table))
        context_BHTK = positions.attend(
            q_BHTK,
            keys,
            self.mix.project(x_BTD, frames),
            frames.padding_mask,
            self.mix.dropout_now,
            reach=self.width,
        )
        return self.mix.merge(context_BHTK), carry

    def attention_map(self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None) -> Tensor:
        """Return the map (B, H, T, T) that `forward` uses, zero outside the window."""
        everywhere = slice(0, x_BTD.shape[1])
        seen = visible(everywhere, everywhere, frames.padding_mask, self.width, x_BTD.device)
        assert seen is not None
        scores_BHTT = self.scores.scores(x_BTD, frames).masked_fill(~seen, float("-inf"))
        return scores_BHTT.softmax(-1)


@in_ranges("reuse")
@dataclass(frozen=True, kw_only=True)
class Local(EveryLayerAlone):
    """Attention to ``width`` frames on either side, in every layer."""

    name: ClassVar[str] = "local"
    width: FrameSpan

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return self-attention with all its parameters."""
        return LocalAttention(parts.scores(), parts.mix(), width=self.width)
