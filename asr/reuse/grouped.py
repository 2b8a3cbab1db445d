"""Grouped attention of Efficient Conformer (Burchi and Vielzeuf 2021).

N consecutive frames become one position, N times as wide, so scores and mixing cost T^2 / N:
queries, keys and values are projected per frame, concatenated within the group, split into heads of
N times the usual width, attended, and split into frames again.

Relative positions differ from the paper's. There the 2T - N distances of frames are projected one
by one and concatenated as the frames are; here two groups have one distance, that of their first
frames, with a projection to the whole width of the head. The products cost the same; the projection
has N times the parameters. Rotary positions, which the paper does not use, rotate the wide heads
and count in groups.

Shape legend: B batch, T frames, D model width, H heads, G groups, N frames of a group, K head width
over a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from asr.nn.attention import (
    AttentionScores,
    ValueMix,
    merge_heads,
    softmax_over_keys,
    split_heads,
)
from asr.nn.frames import Frames, empty_spans, in_spans, spread_over_spans
from asr.nn.position_kinds import make_grouped_positions
from asr.nn.positions import Keys
from asr.profiling.attention_steps import mixing, projecting
from asr.ranges import Range, in_ranges
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    EveryLayerAlone,
    LayerAttention,
    SelfAttention,
)
from asr.reuse.schedule import LayerRole


class GroupedAttention(SelfAttention):
    """Self-attention between groups of frames; a group with at least one valid frame is valid."""

    works_in_chunks: ClassVar[bool] = False

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, frames_per_group: int) -> None:
        super().__init__(scores, mix)
        self.frames_per_group = frames_per_group

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), and the carry unchanged."""
        q_BHGK, keys = self._project(x_BTD, frames)
        context_BHGK = self.scores.positions.attend(
            q_BHGK,
            keys,
            self._group(self.mix.value(x_BTD), frames),
            empty_spans(frames.padding_mask, self.frames_per_group),
            self.mix.dropout_now,
        )
        batch, num_frames, width = x_BTD.shape
        with mixing:
            context_BTD = merge_heads(context_BHGK).reshape(batch, -1, width)[:, :num_frames]
        output_BTD: Tensor = self.mix.output(context_BTD)
        return output_BTD, carry

    def attention_map(self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None) -> Tensor:
        """Return (B, H, T, T): the map of the groups, spread over their valid frames."""
        span = self.frames_per_group
        scores_BHGG = self.scores.positions.scores(*self._project(x_BTD, frames))
        probs_BHGG = softmax_over_keys(scores_BHGG, empty_spans(frames.padding_mask, span))
        probs_BHTG = probs_BHGG.repeat_interleave(span, 2)[:, :, : x_BTD.shape[1]]
        return spread_over_spans(probs_BHTG, x_BTD, frames.padding_mask, span)

    @projecting
    def _project(self, x_BTD: Tensor, frames: Frames) -> tuple[Tensor, Keys]:
        """Return queries (B, H, G, K) and keys of groups, with their positions."""
        q_BHGK = self._group(self.scores.query(x_BTD), frames)
        k_BHGK = self._group(self.scores.key(x_BTD), frames)
        return q_BHGK, self.scores.positions.keys(k_BHGK, frames.position_table)

    @projecting
    def _group(self, projected_BTD: Tensor, frames: Frames) -> Tensor:
        """Convert (B, T, D) to (B, H, G, K); groups without valid frames are zero."""
        spans_BGND = in_spans(projected_BTD, frames.padding_mask, self.frames_per_group)
        return split_heads(spans_BGND.flatten(2), self.mix.num_heads)


@in_ranges("reuse")
@dataclass(frozen=True, kw_only=True)
class Grouped(EveryLayerAlone):
    """Attention between groups of ``frames_per_group`` frames in every layer."""

    name: ClassVar[str] = "grouped"
    frames_per_group: Annotated[int, Range(2, 1000)]

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return self-attention between groups, with all its parameters."""
        positions = make_grouped_positions(
            parts.positions,
            d_model=parts.d_model,
            num_heads=parts.num_heads,
            head_dim=parts.head_dim,
            frames_per_group=self.frames_per_group,
        )
        return GroupedAttention(
            parts.scores(positions=positions), parts.mix(), frames_per_group=self.frames_per_group
        )
