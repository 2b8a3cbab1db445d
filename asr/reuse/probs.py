"""Followers reuse the leader's attention map: attention map reuse.

Shim, Choi and Sung 2022 (Understanding the role of self attention for efficient speech
recognition) and 2023 (Exploring attention map reuse); before them Xiao et al. 2019 in translation
and LazyFormer (Ying et al. 2021). The map travels after the softmax and before dropout; position
scores are inside it, so a follower has no query, key or position parameters.

Shape legend: B batch, T frames, D model width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.reuse.base import AttentionCarry, AttentionParts, Grouping, LayerAttention
from asr.reuse.none import AloneAttention
from asr.reuse.schedule import LayerRole, Role


class LeadProbs(LayerAttention):
    """Computes the map, uses it and hands it on."""

    def __init__(self, scores: AttentionScores, mix: ValueMix) -> None:
        super().__init__()
        self.scores = scores
        self.mix = mix

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D) and a carry with this layer's map (B, H, T, T)."""
        probs_BHTT = self.scores(x_BTD, frames)
        return self.mix(x_BTD, probs_BHTT), AttentionCarry(probs_BHTT=probs_BHTT)

    def attention_map(self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None) -> Tensor:
        """The map (B, H, T, T) that `forward` mixes by."""
        probs_BHTT: Tensor = self.scores(x_BTD, frames)
        return probs_BHTT


class FollowProbs(LayerAttention):
    """Mixes its own values by the leader's map."""

    def __init__(self, mix: ValueMix) -> None:
        super().__init__()
        self.mix = mix

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D); the carry stays for the next follower."""
        assert carry is not None
        assert carry.probs_BHTT is not None
        return self.mix(x_BTD, carry.probs_BHTT), carry

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """The leader's map."""
        assert carry is not None
        return carry.probs_BHTT


@dataclass(frozen=True, kw_only=True)
class ReuseProbs(Grouping):
    """Attention map reuse on the given grouping; ALONE layers attend in the fused kernel."""

    name: ClassVar[str] = "probs"

    def heads_reused(self, role: Role, num_heads: int) -> int:
        """All heads of a follower."""
        return num_heads if role is Role.FOLLOW else 0

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Scores and mix for LEAD and ALONE, mix only for FOLLOW."""
        if layer.role is Role.FOLLOW:
            return FollowProbs(parts.mix())
        if layer.role is Role.LEAD:
            return LeadProbs(parts.scores(), parts.mix())
        return AloneAttention(parts.scores(), parts.mix(), fused=True)
