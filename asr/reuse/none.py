"""No reuse: every layer computes its own attention. The baseline, and the ALONE role everywhere.

Shape legend: B batch, T frames, D model width.
"""

from __future__ import annotations

from torch import Tensor

from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    EveryLayerAlone,
    LayerAttention,
    SelfAttention,
)
from asr.reuse.schedule import LayerRole, Role


class AloneAttention(SelfAttention):
    """Plain multi-head self-attention; fused unless asked to build the map."""

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, fused: bool) -> None:
        super().__init__(scores, mix)
        self.fused = fused

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D); the carry passes by untouched."""
        if not self.fused:
            return self.mix.by_kept(x_BTD, self.scores.map(x_BTD, frames), frames), carry
        queries_and_keys = self.scores.project(x_BTD, frames)
        context_BHTK = self.scores.positions.attend(
            *queries_and_keys,
            self.mix.project(x_BTD, frames),
            frames.hidden,
            self.mix.dropout_now,
        )
        return self.mix.merge(context_BHTK), carry


class NoReuse(EveryLayerAlone):
    """Every layer ALONE. ``fused=False`` builds the attention map, as a reuse leader must."""

    def __init__(self, *, fused: bool = True) -> None:
        self.fused = fused
        self.name = "none" if fused else "none explicit"

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Self-attention with all its parameters."""
        assert layer.role is Role.ALONE
        return AloneAttention(parts.scores(), parts.mix(), fused=self.fused)
