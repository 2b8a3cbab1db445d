"""Keys and values averaged over pools of frames: as many queries as frames, N times fewer keys.

Memory-compressed attention (Liu et al. 2018, Generating Wikipedia by summarizing long sequences,
section 4.2.3) shortens keys and values by a strided convolution; here they are averaged over pools
of N frames, which needs no parameters. Scores and mixing cost T^2 / N. The input is pooled before
it is projected, which gives the same result and costs less.

Shape legend: B batch, T frames, D model width, H heads, S pools, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from asr.nn.attention import AttentionScores, ValueMix, softmax_over_keys, split_heads
from asr.nn.frames import Frames, empty_spans, span_means, spread_over_spans
from asr.nn.position_kinds import make_pooled_positions
from asr.nn.positions import Keys
from asr.profiling.attention_steps import projecting
from asr.ranges import Range, in_ranges
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    EveryLayerAlone,
    LayerAttention,
    SelfAttention,
)
from asr.reuse.schedule import LayerRole


class PooledAttention(SelfAttention):
    """Self-attention of every frame to averages over ``pool_size`` frames, without padding."""

    works_in_chunks: ClassVar[bool] = False

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, pool_size: int) -> None:
        super().__init__(scores, mix)
        self.pool_size = pool_size

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), and the carry unchanged."""
        pooled_BSD = self._pool(x_BTD, frames)
        context_BHTK = self.scores.positions.attend(
            *self._project(x_BTD, pooled_BSD, frames),
            self.mix.project(pooled_BSD, frames),
            empty_spans(frames.padding_mask, self.pool_size),
            self.mix.dropout_now,
        )
        return self.mix.merge(context_BHTK), carry

    def attention_map(self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None) -> Tensor:
        """Return the map (B, H, T, T): that of the pools, spread over each pool's frames."""
        q_BHTK, keys = self._project(x_BTD, self._pool(x_BTD, frames), frames)
        scores_BHTS = self.scores.positions.scores(q_BHTK, keys)
        probs_BHTS = softmax_over_keys(
            scores_BHTS, empty_spans(frames.padding_mask, self.pool_size)
        )
        return spread_over_spans(probs_BHTS, x_BTD, frames.padding_mask, self.pool_size)

    @projecting
    def _pool(self, x_BTD: Tensor, frames: Frames) -> Tensor:
        """Return averages (B, S, D) over the valid frames of each pool, zero if there are none."""
        return span_means(x_BTD, frames.padding_mask, self.pool_size)

    @projecting
    def _project(self, x_BTD: Tensor, pooled_BSD: Tensor, frames: Frames) -> tuple[Tensor, Keys]:
        """Return queries (B, H, T, K) of frames, and keys of pools with their positions."""
        q_BHTK = split_heads(self.scores.query(x_BTD), self.scores.num_heads)
        k_BHSK = split_heads(self.scores.key(pooled_BSD), self.scores.num_heads)
        return q_BHTK, self.scores.positions.keys(k_BHSK, frames.position_table)


@in_ranges("reuse")
@dataclass(frozen=True, kw_only=True)
class Pooled(EveryLayerAlone):
    """Keys and values pooled over ``pool_size`` frames in every layer."""

    name: ClassVar[str] = "pooled"
    pool_size: Annotated[int, Range(2, 1000)]

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return self-attention to pools, with all its parameters."""
        positions = make_pooled_positions(
            parts.positions,
            d_model=parts.d_model,
            num_heads=parts.num_heads,
            head_dim=parts.head_dim,
            pool_size=self.pool_size,
        )
        return PooledAttention(
            parts.scores(positions=positions), parts.mix(), pool_size=self.pool_size
        )
