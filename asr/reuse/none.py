"""No reuse: every layer computes its own attention. The baseline, and every method's ALONE role.

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
    """Plain multi-head self-attention, by the fused kernel or with an explicit map."""

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, fused: bool) -> None:
        super().__init__(scores, mix)
        self.fused = fused

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), and the carry unchanged."""
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
    """Every layer ALONE. ``fused=False`` computes the attention map, as a leader does."""

    def __init__(self, *, fused: bool = True) -> None:
        self.fused = fused
        self.name = "none" if fused else "none explicit"

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return self-attention with all its parameters."""
        assert layer.role is Role.ALONE
        return AloneAttention(parts.scores(), parts.mix(), fused=self.fused)
