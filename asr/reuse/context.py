"""The leader attends once for its whole group: context reuse, ours.

The leader multiplies its map with the values of all layers of the group side by side, tile by
tile of rows, so in inference neither the map nor anything else quadratic is stored. A follower
receives its own context and only projects it; in training the group shares one draw of dropout on
the map. A follower's values are computed from the leader's input (the map is gone when the
follower runs), which is what the method gives up against `asr.reuse.probs`.

Shape legend: B batch, T frames, D model width, H heads, K head width, G layers of the group,
R rows of a tile.
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
    """The context (B, H, T, K) of every follower still to come, in order."""

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
        """Output (B, T, D) and a carry with one context (B, H, T, K) for each follower."""
        with projecting:
            wide_BTGD = torch.cat([self.mix.value(x_BTD), self.followers_value(x_BTD)], -1)
        wide_BSGD = frames.seen(wide_BTGD)
        contexts_BHTGK = self._attend(x_BTD, self._split(wide_BSGD), frames)
        own, *others = contexts_BHTGK.unbind(3)
        return self.mix.merge(own), ContextCarry(contexts=tuple(others))

    def inherit(self, own: SelfAttention, followers: Sequence[SelfAttention]) -> set[str]:
        """Everything of ``own``, and the values of the followers side by side."""
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
        """(B, T, G * D) to (B, H, T, G * K): the values of a head for all layers side by side."""
        batch, num_frames, _ = wide_BTGD.shape
        v_BTGHK = wide_BTGD.view(batch, num_frames, self.group_size, self.mix.num_heads, -1)
        return v_BTGHK.permute(0, 3, 1, 2, 4).flatten(3)

    def _attend(self, x_BTD: Tensor, v_BHTV: Tensor, frames: Frames) -> Tensor:
        """Contexts (B, H, T, G, K); the map exists for one tile of rows at a time, if at all."""
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
    """Projects the context its leader computed for it."""

    reads_input: ClassVar[bool] = False

    def __init__(self, mix: OutputOnly) -> None:
        super().__init__()
        self.mix = mix

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D) and the carry for the followers still to come."""
        own, *others = ContextCarry.of(carry).contexts
        check_frame_rate(own.shape[2], x_BTD.shape[1])
        return self.mix.merge(own), ContextCarry(contexts=tuple(others))

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """None: the leader's, which the carry does not hold."""
        return None


@dataclass(frozen=True, kw_only=True)
class ReuseContext(GroupReuse):
    """Context reuse on the given grouping."""

    name: ClassVar[str] = "context"

    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Scores, mix and the values of the followers."""
        return LeadContext(
            parts.scores(), parts.mix(), d_model=parts.d_model, num_followers=num_followers
        )

    def follow(self, parts: AttentionParts) -> LayerAttention:
        """An output projection."""
        return FollowContext(OutputOnly(d_model=parts.d_model))
