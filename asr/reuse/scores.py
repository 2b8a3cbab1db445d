"""Followers reuse the leader's scores, before the softmax, and correct them.

After EfficientASR (2404.19214), which shares attention scores across layers with a residual update
and an emphasis of the diagonal. Its equations were not at hand: the two corrections here are our
reconstruction. ``diagonal`` adds a learned bias per head and distance near the diagonal;
``low_rank`` adds the product of narrow queries and keys (as LiSA, 2408.01890, does after the fact).
What a follower emits are its corrected scores.

Shape legend: B batch, T frames, D model width, H heads, W bandwidth, R rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from asr.nn.attention import AttentionScores, ValueMix, softmax_over_keys, split_heads
from asr.nn.frames import Frames
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    Grouping,
    LayerAttention,
    check_frame_rate,
)
from asr.reuse.none import AloneAttention
from asr.reuse.schedule import LayerRole, Role
from asr.types import InputError

Correction = Literal["none", "diagonal", "low_rank"]


class DiagonalCorrection(nn.Module):
    """A bias per head and distance, for distances up to ``bandwidth`` frames; starts at zero."""

    def __init__(self, *, num_heads: int, bandwidth: int) -> None:
        super().__init__()
        self.bandwidth = bandwidth
        self.bias_HW = nn.Parameter(torch.zeros(num_heads, 2 * bandwidth + 1))

    def forward(self, scores_BHTT: Tensor, x_BTD: Tensor) -> Tensor:
        """The scores with the band around the diagonal corrected."""
        time = torch.arange(scores_BHTT.shape[-1], device=scores_BHTT.device)
        distance_TT = time.unsqueeze(0) - time.unsqueeze(1)
        near_TT = distance_TT.abs() <= self.bandwidth
        index_TT = distance_TT.clamp(-self.bandwidth, self.bandwidth) + self.bandwidth
        bias_HTT: Tensor = self.bias_HW[:, index_TT] * near_TT
        return scores_BHTT + bias_HTT


class LowRankCorrection(nn.Module):
    """The product of queries and keys of ``rank`` channels per head; starts at zero."""

    def __init__(self, *, d_model: int, num_heads: int, rank: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.rank = rank
        self.narrow_query = nn.Linear(d_model, num_heads * rank, bias=False)
        self.narrow_key = nn.Linear(d_model, num_heads * rank, bias=False)
        nn.init.zeros_(self.narrow_query.weight)

    def forward(self, scores_BHTT: Tensor, x_BTD: Tensor) -> Tensor:
        """The scores plus the low-rank ones of this layer's input."""
        q_BHTR = split_heads(self.narrow_query(x_BTD), self.num_heads) * self.rank**-0.5
        k_BHTR = split_heads(self.narrow_key(x_BTD), self.num_heads)
        low_rank_BHTT: Tensor = q_BHTR @ k_BHTR.transpose(-1, -2)
        return scores_BHTT + low_rank_BHTT


class NoCorrection(nn.Module):
    """The scores as they are."""

    def forward(self, scores_BHTT: Tensor, x_BTD: Tensor) -> Tensor:
        """The scores."""
        return scores_BHTT


class LeadScores(LayerAttention):
    """Computes the scores, uses them and hands them on."""

    def __init__(self, scores: AttentionScores, mix: ValueMix) -> None:
        super().__init__()
        self.scores = scores
        self.mix = mix

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D) and a carry with this layer's scores."""
        scores_BHTT = self.scores.scores(x_BTD, frames)
        probs_BHTT = softmax_over_keys(scores_BHTT, frames.padding_mask, in_place=False)
        return self.mix(x_BTD, probs_BHTT), AttentionCarry(scores_BHTT=scores_BHTT)

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """This layer's map."""
        probs_BHTT: Tensor = self.scores(x_BTD, frames)
        return probs_BHTT


class FollowScores(LayerAttention):
    """Corrects the scores it is handed, attends with them and hands them on."""

    def __init__(self, correction: nn.Module, mix: ValueMix) -> None:
        super().__init__()
        self.correction = correction
        self.mix = mix

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D) and a carry with the corrected scores."""
        assert carry is not None
        assert carry.scores_BHTT is not None
        check_frame_rate(carry.scores_BHTT.shape[-1], x_BTD)
        scores_BHTT: Tensor = self.correction(carry.scores_BHTT, x_BTD)
        probs_BHTT = softmax_over_keys(scores_BHTT, frames.padding_mask, in_place=False)
        return self.mix(x_BTD, probs_BHTT), AttentionCarry(scores_BHTT=scores_BHTT)

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """The map of the corrected scores."""
        assert carry is not None
        assert carry.scores_BHTT is not None
        scores_BHTT: Tensor = self.correction(carry.scores_BHTT, x_BTD)
        return softmax_over_keys(scores_BHTT, frames.padding_mask, in_place=False)


@dataclass(frozen=True, kw_only=True)
class ReuseScores(Grouping):
    """Score reuse with a correction per follower.

    ``bandwidth`` in frames is for ``diagonal``, ``rank`` in channels per head for ``low_rank``.
    """

    name: ClassVar[str] = "scores"
    correction: Correction = "diagonal"
    bandwidth: int = 8
    rank: int = 8

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """All heads of a follower, corrected."""
        return num_heads if layer.role is Role.FOLLOW else 0

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Scores and mix for LEAD and ALONE; correction and mix for FOLLOW.

        Raises:
            InputError: no such ``correction``, or ``bandwidth`` or ``rank`` below 1.
        """
        if self.correction not in get_args(Correction):
            raise InputError(
                f"reuse.correction={self.correction!r}: allowed: {', '.join(get_args(Correction))}"
            )
        if self.bandwidth < 1 or self.rank < 1:
            raise InputError(
                f"reuse.bandwidth={self.bandwidth}, reuse.rank={self.rank}: allowed: 1 or more"
            )
        if layer.role is Role.ALONE:
            return AloneAttention(parts.scores(), parts.mix(), fused=True)
        if layer.role is Role.LEAD:
            return LeadScores(parts.scores(), parts.mix())
        return FollowScores(self._make_correction(parts), parts.mix())

    def _make_correction(self, parts: AttentionParts) -> nn.Module:
        if self.correction == "diagonal":
            return DiagonalCorrection(num_heads=parts.num_heads, bandwidth=self.bandwidth)
        if self.correction == "low_rank":
            return LowRankCorrection(
                d_model=parts.d_model, num_heads=parts.num_heads, rank=self.rank
            )
        return NoCorrection()
