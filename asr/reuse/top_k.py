"""Followers reuse the largest entries of each row of the leader's map: a cheaper map reuse.

As in `asr.reuse.probs` (Shim, Choi and Sung 2022, 2023), but a follower uses only the ``num_kept``
largest weights of each row, renormalised to sum to one; this restriction is ours. The leader uses
its full map, which exists for one tile of rows at a time. A follower gathers and sums the values of
these entries, so the carry and its cost grow with T, not with its square. Finding the entries is
expensive: with a large ``num_kept`` it costs a CPU as much as the leader's attention.

Shape legend: B batch, T frames, D model width, H heads, K head width, R rows of a tile, N stored
keys per row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.nn.tiles import RowBuffer
from asr.profiling.attention_steps import mixing, normalising
from asr.ranges import FrameSpan, in_ranges
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    LayerAttention,
    SelfAttention,
    check_frame_rate,
)
from asr.reuse.grouping import GroupReuse


@dataclass(frozen=True, slots=True)
class TopKCarry(AttentionCarry):
    """The largest entries of each row of the leader's map, and their keys (see `largest`)."""

    top_BHTN: Tensor
    index_BHTN: Tensor


class LeadTopK(SelfAttention):
    """Attends with its full map, tile by tile, and passes on the largest weights of each row."""

    def __init__(self, scores: AttentionScores, mix: ValueMix, *, num_kept: int) -> None:
        super().__init__(scores, mix)
        self.num_kept = num_kept

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and a carry with weights and keys of the largest entries."""
        q_BHTK, keys = self.scores.project(x_BTD, frames)
        v_BHSK = self.mix.project(x_BTD, frames)
        top_BHRN, index_BHRN, contexts_BHRK = (RowBuffer(x_BTD.shape[1]) for _ in range(3))
        for scores_BHRT in self.scores.positions.score_tiles(q_BHTK, keys):
            top, index = largest(scores_BHRT, self.num_kept, frames.hidden)
            context_BHRK = self.mix.attend(scores_BHRT, v_BHSK, frames.hidden)
            with mixing:
                top_BHRN.append(top)
                index_BHRN.append(index)
                contexts_BHRK.append(context_BHRK)
        return self.mix.merge(contexts_BHRK.joined()), TopKCarry(
            top_BHTN=top_BHRN.joined(), index_BHTN=index_BHRN.joined()
        )


class FollowTopK(LayerAttention):
    """Sums its own values with the leader's largest weights."""

    def __init__(self, mix: ValueMix) -> None:
        super().__init__()
        self.mix = mix

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), and the carry unchanged for the next follower."""
        if torch.compiler.is_exporting():  # a graph has no embedding bag
            return self.mix(x_BTD, self.attention_map(x_BTD, frames, carry), frames), carry
        top_BHTN, index_BHTN = self._kept(x_BTD, carry)
        v_BHSK = self.mix.project(x_BTD, frames)
        # An embedding bag sums without gathering (B, H, T, N, K).
        with mixing:
            context_BHTK = functional.embedding_bag(
                index_BHTN.flatten(0, 2),
                v_BHSK.flatten(0, 2).to(top_BHTN.dtype),
                mode="sum",
                per_sample_weights=self.mix.dropout(top_BHTN).flatten(0, 2),
            ).view(*top_BHTN.shape[:3], -1)
            context_BHTK = context_BHTK.to(v_BHSK.dtype)
        return self.mix.merge(context_BHTK), carry

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return the leader's map, renormalised over its largest entries and zero elsewhere."""
        top_BHTN, index_BHTN = self._kept(x_BTD, carry)
        probs_BHTT = top_BHTN.new_zeros(*top_BHTN.shape[:3], frames.num_seen(x_BTD))
        key_BHTN = index_BHTN.long() - first_keys(probs_BHTT)
        return probs_BHTT.scatter(-1, key_BHTN, top_BHTN)

    def _kept(self, x_BTD: Tensor, carry: AttentionCarry | None) -> tuple[Tensor, Tensor]:
        carry = TopKCarry.of(carry)
        check_frame_rate(carry.top_BHTN.shape[2], x_BTD.shape[1])
        return carry.top_BHTN, carry.index_BHTN


@normalising
def largest(
    scores_BHRT: Tensor, num_kept: int, padding_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the largest probabilities of each row (B, H, R, N), renormalised, and their keys.

    Keys are numbered across all utterances and heads: frame t of head h of utterance b is ``(b * H
    + h) * T + t``. With fewer than ``num_kept`` frames all are kept.
    """
    if padding_mask is not None:
        scores_BHRT = scores_BHRT.masked_fill(padding_mask[:, None, None, :], float("-inf"))
    num_found = scores_BHRT.shape[-1]
    smaller: Callable[[int, int], int] = torch.sym_min if torch.compiler.is_exporting() else min
    top_BHRN, index_BHRN = scores_BHRT.topk(smaller(num_kept, num_found), sorted=False)
    return top_BHRN.softmax(-1), (index_BHRN + first_keys(scores_BHRT)).int()


def first_keys(scores_BHRT: Tensor) -> Tensor:
    """Return (B, H, 1, 1): the number of each head's first key, see `largest`."""
    batch, num_heads, _, num_frames = scores_BHRT.shape
    first = torch.arange(batch * num_heads, device=scores_BHRT.device) * num_frames
    return first.view(batch, num_heads, 1, 1)


@in_ranges("reuse")
@dataclass(frozen=True, kw_only=True)
class ReuseTopK(GroupReuse):
    """Reuse of the ``num_kept`` largest entries of each row of the map on the given grouping.

    Raises:
        InputError: ``num_kept`` is below 1.
    """

    name: ClassVar[str] = "top_k"
    num_kept: FrameSpan = 16

    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Return scores and mix."""
        return LeadTopK(parts.scores(), parts.mix(), num_kept=self.num_kept)

    def follow(self, parts: AttentionParts) -> LayerAttention:
        """Return a mix."""
        return FollowTopK(parts.mix())
