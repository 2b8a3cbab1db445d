"""Followers reuse the leader's keys and values: cross-layer attention.

Brandon et al. 2024 (Reducing Transformer key-value cache size with cross-layer attention). A
follower has its own queries and output projection. It compares its queries with the leader's keys
at the leader's positions, so with relative positions it keeps the biases u and v but no position
projection. Every layer has its own map and uses the fused kernel.

Shape legend: B batch, T frames, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from asr.nn.attention import OutputOnly, softmax_over_keys, split_heads
from asr.nn.frames import Frames
from asr.nn.positions import Keys, Positions
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    LayerAttention,
    SelfAttention,
    check_frame_rate,
)
from asr.reuse.grouping import GroupReuse
from asr.reuse.schedule import LayerRole


@dataclass(frozen=True, slots=True)
class KeysValuesCarry(AttentionCarry):
    """The leader's keys, with their positions, and its values."""

    keys: Keys
    v_BHTK: Tensor


class LeadKeysValues(SelfAttention):
    """Self-attention that passes on its keys and values."""

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and a carry with keys and values."""
        q_BHTK, keys = self.scores.project(x_BTD, frames)
        v_BHTK = self.mix.project(x_BTD, frames)
        context_BHTK = self.scores.positions.attend(
            q_BHTK, keys, v_BHTK, frames.hidden, self.mix.dropout_now
        )
        return self.mix.merge(context_BHTK), KeysValuesCarry(keys=keys, v_BHTK=v_BHTK)


class OwnQueries(nn.Module):
    """The query projection and query positions of a layer whose keys come from its leader."""

    def __init__(self, *, d_model: int, num_heads: int, positions: Positions) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(d_model, d_model)
        self.positions = positions

    def project(self, x_BTD: Tensor) -> Tensor:
        """Return the queries (B, H, T, K)."""
        return split_heads(self.query(x_BTD), self.num_heads)


class FollowKeysValues(LayerAttention):
    """Attends with its own queries to the leader's keys and values."""

    def __init__(self, scores: OwnQueries, mix: OutputOnly, *, dropout: float) -> None:
        super().__init__()
        self.scores = scores
        self.mix = mix
        self.dropout = dropout

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), and the carry unchanged for the next follower."""
        carry = KeysValuesCarry.of(carry)
        check_frame_rate(carry.v_BHTK.shape[2], frames.num_seen(x_BTD))
        context_BHTK = self.scores.positions.attend(
            self.scores.project(x_BTD),
            carry.keys,
            carry.v_BHTK,
            frames.hidden,
            self.dropout if self.training else 0.0,
        )
        return self.mix.merge(context_BHTK), carry

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return the layer's own map, over the leader's keys."""
        keys = KeysValuesCarry.of(carry).keys
        scores_BHTT = self.scores.positions.scores(self.scores.project(x_BTD), keys)
        return softmax_over_keys(scores_BHTT, frames.hidden)


@dataclass(frozen=True, kw_only=True)
class ReuseKeysValues(GroupReuse):
    """Cross-layer attention on the given grouping."""

    name: ClassVar[str] = "kv"

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """Return 0: every layer has its own map."""
        return 0

    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Return scores and mix."""
        return LeadKeysValues(parts.scores(), parts.mix())

    def follow(self, parts: AttentionParts) -> LayerAttention:
        """Return queries and an output projection."""
        queries = OwnQueries(
            d_model=parts.d_model, num_heads=parts.num_heads, positions=parts.query_positions()
        )
        return FollowKeysValues(queries, OutputOnly(d_model=parts.d_model), dropout=parts.dropout)
