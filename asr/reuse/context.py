"""Context reuse: the leader attends once for its whole group. This method is ours.

The leader multiplies its map with the values of all layers of the group side by side, tile by tile
of rows, so inference stores no map and nothing else quadratic in T. A follower receives its own
context and only projects it; in training the group shares one dropout mask on the map. Since the
map is gone when the follower runs, a follower's values are computed from the leader's input; this
is the method's disadvantage against `asr.reuse.probs`.

Shape legend: B batch, T frames, D model width, H heads, K head width, G layers of the group, R rows
of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from asr.nn.attention import AttentionScores, OutputOnly, ValueMix
from asr.nn.frames import Frames
from asr.nn.tiles import RowBuffer
from asr.profiling.attention_steps import mixing, projecting
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    LayerAttention,
    SelfAttention,
    check_frame_rate,
    fill,
)
from asr.reuse.grouping import GroupReuse


@dataclass(frozen=True, slots=True)
class ContextCarry(AttentionCarry):
    """The context (B, H, T, K) of every remaining follower, in order."""

    contexts: tuple[Tensor, ...]


class LeadContext(SelfAttention):
    """Attends once with the values of the group; ``followers_value`` holds the followers' V."""

    def __init__(
        self, scores: AttentionScores, mix: ValueMix, *, d_model: int, num_followers: int
    ) -> None:
        super().__init__(scores, mix)
        self.followers_value = nn.Linear(d_model, num_followers * d_model)
        self.group_size = 1 + num_followers

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and a carry with one context (B, H, T, K) per follower."""
        with projecting:
            wide_BTGD = torch.cat([self.mix.value(x_BTD), self.followers_value(x_BTD)], -1)
        wide_BSGD = frames.seen(wide_BTGD)
        contexts_BHTGK = self._attend(x_BTD, self._split(wide_BSGD), frames)
        own, *others = contexts_BHTGK.unbind(3)
        return self.mix.merge(own), ContextCarry(contexts=tuple(others))

    def inherit(self, own: SelfAttention, followers: Sequence[SelfAttention]) -> set[str]:
        """Copy everything of ``own``, and the followers' values side by side."""
        values = [follower.mix.value.state_dict() for follower in followers]
        return super().inherit(own, followers) | fill(
            self,
            {
                f"followers_value.{name}": torch.cat([value[name] for value in values])
                for name in self.followers_value.state_dict()
            },
        )

    @projecting
    def _split(self, wide_BTGD: Tensor) -> Tensor:
        """Convert (B, T, G * D) to (B, H, T, G * K): per head, the values of all layers."""
        batch, num_frames, _ = wide_BTGD.shape
        v_BTGHK = wide_BTGD.view(batch, num_frames, self.group_size, self.mix.num_heads, -1)
        return v_BTGHK.permute(0, 3, 1, 2, 4).flatten(3)

    def _attend(self, x_BTD: Tensor, v_BHTV: Tensor, frames: Frames) -> Tensor:
        """Return the contexts (B, H, T, G, K), storing at most one tile of rows of the map."""
        q_BHTK, keys = self.scores.project(x_BTD, frames)
        positions, dropout = self.scores.positions, self.mix.dropout_now
        if torch.is_grad_enabled() or (dropout == 0.0 and positions.has_kernel(keys, v_BHTV)):
            wide_BHTV = positions.attend(q_BHTK, keys, v_BHTV, frames.hidden, dropout)
        else:
            wide_BHRV = RowBuffer(x_BTD.shape[1])
            for scores_BHRT in positions.score_tiles(q_BHTK, keys):
                context_BHRV = self.mix.attend(scores_BHRT, v_BHTV, frames.hidden)
                with mixing:
                    wide_BHRV.append(context_BHRV)
            wide_BHTV = wide_BHRV.joined()
        return wide_BHTV.view(*wide_BHTV.shape[:3], self.group_size, -1)


class FollowContext(LayerAttention):
    """Projects the context that its leader computed for it."""

    reads_input: ClassVar[bool] = False

    def __init__(self, mix: OutputOnly) -> None:
        super().__init__()
        self.mix = mix

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and the carry for the remaining followers."""
        own, *others = ContextCarry.of(carry).contexts
        check_frame_rate(own.shape[2], x_BTD.shape[1])
        return self.mix.merge(own), ContextCarry(contexts=tuple(others))

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return None: the map is the leader's, and not in the carry."""
        return None


@dataclass(frozen=True, kw_only=True)
class ReuseContext(GroupReuse):
    """Context reuse on the given grouping."""

    name: ClassVar[str] = "context"

    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Return scores, mix and the values of the followers."""
        return LeadContext(
            parts.scores(), parts.mix(), d_model=parts.d_model, num_followers=num_followers
        )

    def follow(self, parts: AttentionParts) -> LayerAttention:
        """Return an output projection."""
        return FollowContext(OutputOnly(d_model=parts.d_model))
