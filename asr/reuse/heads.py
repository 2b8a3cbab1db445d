"""Followers reuse some heads of the map and compute the others: Reuse Transformer.

Bhojanapalli et al. 2021 (Leveraging redundancy in attention with Reuse Transformers): a follower
takes K of the H heads that the layer before it emitted and computes H - K of its own, which stand
first in what it emits, so the next follower prefers them. Values and output projection are
always its own. K = H is attention map reuse (`asr.reuse.probs`).

Shape legend: B batch, T frames, D model width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    LayerAttention,
    SelfAttention,
    check_frame_rate,
    fill,
)
from asr.reuse.group_reuse import GroupReuse
from asr.reuse.head_order import first_heads
from asr.reuse.probs import FollowProbs, LeadProbs
from asr.reuse.schedule import LayerRole, Role, Schedule, schedule_from_leaders
from asr.types import InputError


@dataclass(frozen=True, slots=True)
class HeadsCarry(AttentionCarry):
    """The maps of the heads that the next follower takes, in order."""

    heads_BTT: tuple[Tensor, ...]


class LeadHeads(SelfAttention):
    """Computes all heads and hands on the first ``num_reused``."""

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, num_reused: int) -> None:
        super().__init__(scores, mix)
        self.num_reused = num_reused

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D) and a carry with the heads a follower will take."""
        probs_BHTT = self.scores(x_BTD, frames)
        heads_BTT = probs_BHTT.unbind(1)[: self.num_reused]
        return self.mix(x_BTD, probs_BHTT), HeadsCarry(heads_BTT=heads_BTT)


class FollowHeads(SelfAttention):
    """Computes its fresh heads, takes the others from the carry, hands on fresh ones first."""

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, num_reused: int) -> None:
        super().__init__(scores, mix)
        self.num_reused = num_reused

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D) and a carry with the first ``num_reused`` of [fresh, reused]."""
        heads_BTT = self._heads(x_BTD, frames, carry)
        v_BHTK = self.mix.project(x_BTD)
        contexts_BTK = [
            self.mix.mix(probs_BTT, v_BTK)
            for probs_BTT, v_BTK in zip(heads_BTT, v_BHTK.unbind(1), strict=True)
        ]
        handed_on = HeadsCarry(heads_BTT=heads_BTT[: self.num_reused])
        return self.mix.merge(torch.stack(contexts_BTK, 1)), handed_on

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Its fresh heads, then those of the carry."""
        return torch.stack(self._heads(x_BTD, frames, carry), 1)

    def _heads(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, ...]:
        """One map (B, T, T) per head; no map is copied to stand beside another."""
        reused_BTT = HeadsCarry.of(carry).heads_BTT
        check_frame_rate(reused_BTT[0].shape[-1], x_BTD)
        return (*self.scores(x_BTD, frames).unbind(1), *reused_BTT)

    def inherit(self, own: SelfAttention, followers: Sequence[SelfAttention]) -> set[str]:
        """The first heads of ``own`` stay fresh; values and output projection of all."""
        fresh = first_heads(
            own.scores.state_dict(), self.scores.num_heads, num_heads=own.scores.num_heads
        )
        return super().inherit(own, followers) | fill(
            self, {f"scores.{name}": tensor for name, tensor in fresh.items()}
        )


@dataclass(frozen=True, kw_only=True)
class ReuseHeads(GroupReuse):
    """Reuse of ``num_reused`` heads per follower; layers above ``max_reuse_layer`` are ALONE.

    ``max_reuse_layer`` is a layer index counted from 0, None for no bound.
    """

    name: ClassVar[str] = "heads"
    num_reused: int
    max_reuse_layer: int | None = None

    def schedule(self, num_layers: int) -> Schedule:
        """One role per layer; see `Grouping.schedule`."""
        roles = super().schedule(num_layers)
        if self.max_reuse_layer is None:
            return roles
        leaders = [
            role.layer if role.leader is None or role.layer > self.max_reuse_layer else role.leader
            for role in roles
        ]
        return schedule_from_leaders(leaders, num_layers)

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """``num_reused`` of a follower's heads."""
        return self.num_reused if layer.role is Role.FOLLOW else 0

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """See `GroupReuse.attention`.

        Raises:
            InputError: ``num_reused`` is not between 1 and the number of heads.
        """
        if not 1 <= self.num_reused <= parts.num_heads:
            raise InputError(
                f"reuse.num_reused={self.num_reused}: allowed: 1 to encoder.num_heads="
                f"{parts.num_heads}"
            )
        return super().attention(layer, parts)

    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Scores and mix of all heads."""
        if self.num_reused == parts.num_heads:
            return LeadProbs(parts.scores(), parts.mix())
        return LeadHeads(parts.scores(), parts.mix(), num_reused=self.num_reused)

    def follow(self, parts: AttentionParts) -> LayerAttention:
        """Scores of the fresh heads, mix of all."""
        num_fresh = parts.num_heads - self.num_reused
        if num_fresh == 0:
            return FollowProbs(parts.mix())
        return FollowHeads(parts.scores(num_fresh), parts.mix(), num_reused=self.num_reused)
