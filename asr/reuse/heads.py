"""Followers reuse some heads of the map and compute the others: Reuse Transformer.

Bhojanapalli et al. 2021 (Leveraging redundancy in attention with Reuse Transformers): a follower
reuses K of the H heads that the layer before it passed on and computes H - K fresh ones. It passes
the fresh ones on first, so the next follower prefers them. Values and output projection are always
its own. K = H is attention map reuse (`asr.reuse.probs`).

Shape legend: B batch, T frames, D model width, H heads, K head width, S stored rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from asr.errors import InputError
from asr.nn.attention import AttentionScores, MapRows, ValueMix
from asr.nn.frames import Frames
from asr.nn.tiles import KeptRows
from asr.profiling.attention_steps import mixing
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    LayerAttention,
    SelfAttention,
    check_frame_rate,
    fill,
)
from asr.reuse.grouping import GroupReuse
from asr.reuse.head_order import first_heads
from asr.reuse.probs import FollowProbs, LeadProbs
from asr.reuse.schedule import LayerRole, Role, Schedule, schedule_from_leaders


@dataclass(frozen=True, slots=True)
class HeadsCarry(AttentionCarry):
    """The maps (B, 1, T, T) of the heads that the next follower reuses, in order."""

    heads: tuple[KeptRows[MapRows], ...]


class LeadHeads(SelfAttention):
    """Computes all heads and passes on the first ``num_reused``."""

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, num_reused: int) -> None:
        super().__init__(scores, mix)
        self.num_reused = num_reused

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and a carry with the heads that a follower reuses."""
        probs_BHTT = self.scores.map(x_BTD, frames, num_heads=num_live_maps(self))
        handed_on = HeadsCarry(each_head(probs_BHTT)[: self.num_reused])
        return self.mix.by_kept(x_BTD, probs_BHTT, frames), handed_on


class FollowHeads(SelfAttention):
    """Computes its fresh heads, takes the others from the carry, passes on fresh ones first."""

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, num_reused: int) -> None:
        super().__init__(scores, mix)
        self.num_reused = num_reused

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and a carry: the first ``num_reused`` of [fresh, reused]."""
        heads = self._heads(x_BTD, frames, carry)
        v_BHSK = self.mix.project(x_BTD, frames)
        contexts_B1TK = [
            self.mix.context(v_B1SK, probs_B1TT.tiles(), num_rows=x_BTD.shape[1])
            for probs_B1TT, v_B1SK in zip(heads, torch.split(v_BHSK, 1, 1), strict=True)
        ]
        handed_on = HeadsCarry(heads[: self.num_reused])
        with mixing:
            context_BHTK = torch.cat(contexts_B1TK, 1)
        return self.mix.merge(context_BHTK), handed_on

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return its fresh heads, then those of the carry."""
        return torch.cat([head.whole() for head in self._heads(x_BTD, frames, carry)], 1)

    def _heads(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[KeptRows[MapRows], ...]:
        """Return one map (B, 1, T, T) per head, without concatenating them."""
        reused = HeadsCarry.of(carry).heads
        check_frame_rate(reused[0].num_frames, x_BTD.shape[1])
        fresh_BHTT = self.scores.map(x_BTD, frames, num_heads=num_live_maps(self))
        return (*each_head(fresh_BHTT), *reused)

    def inherit(self, own: SelfAttention, followers: Sequence[SelfAttention]) -> set[str]:
        """Copy the first heads of ``own`` as fresh ones, values and output projection of all."""
        fresh = first_heads(
            own.scores.state_dict(), self.scores.num_heads, num_heads=own.scores.num_heads
        )
        return super().inherit(own, followers) | fill(
            self, {f"scores.{name}": tensor for name, tensor in fresh.items()}
        )


def num_live_maps(layer: LeadHeads | FollowHeads) -> int:
    """Return how many maps exist at once: those of a layer, and a follower's fresh ones."""
    num_heads = layer.mix.num_heads
    return num_heads + num_heads - layer.num_reused


def each_head(probs_BHTT: KeptRows[MapRows]) -> tuple[KeptRows[MapRows], ...]:
    """Return the maps (B, 1, T, T) of all heads; stored rows are not copied."""
    (kept_BHST,), source = probs_BHTT.kept, probs_BHTT.source
    heads = [slice(head, head + 1) for head in range(kept_BHST.shape[1])]
    return tuple(
        KeptRows((kept_BHST[:, head],), None if source is None else source.heads(head))
        for head in heads
    )


@dataclass(frozen=True, kw_only=True)
class ReuseHeads(GroupReuse):
    """Reuse of ``num_reused`` heads per follower; layers above ``max_reuse_layer`` are ALONE.

    ``max_reuse_layer`` is a layer index counted from 0, None for no limit.
    """

    name: ClassVar[str] = "heads"
    num_reused: int
    max_reuse_layer: int | None = None

    def schedule(self, num_layers: int) -> Schedule:
        """Return one role per layer; see `Grouping.schedule`."""
        roles = super().schedule(num_layers)
        if self.max_reuse_layer is None:
            return roles
        leaders = [
            role.layer if role.leader is None or role.layer > self.max_reuse_layer else role.leader
            for role in roles
        ]
        return schedule_from_leaders(leaders, num_layers)

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """Return ``num_reused`` for a follower, else 0."""
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
        """Return scores and mix of all heads."""
        if self.num_reused == parts.num_heads:
            return LeadProbs(parts.scores(), parts.mix())
        return LeadHeads(parts.scores(), parts.mix(), num_reused=self.num_reused)

    def follow(self, parts: AttentionParts) -> LayerAttention:
        """Return scores of the fresh heads, and mix of all."""
        num_fresh = parts.num_heads - self.num_reused
        if num_fresh == 0:
            return FollowProbs(parts.mix())
        return FollowHeads(parts.scores(num_fresh), parts.mix(), num_reused=self.num_reused)
