"""Followers reuse the leader's attention map: attention map reuse.

Shim, Choi and Sung 2022 (Understanding the role of self attention for efficient speech recognition)
and 2023 (Exploring attention map reuse); before them Xiao et al. 2019 in translation and LazyFormer
(Ying et al. 2021). The map is passed on after the softmax and before dropout. It includes the
position scores, so a follower has no query, key or position parameters. The map may be stored in
half precision; the followers then multiply in half precision too.

Shape legend: B batch, T frames, D model width, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from asr.errors import InputError
from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.nn.tiles import KeptRows, RowBuffer, RowSource, keep_first
from asr.profiling.attention_steps import normalising
from asr.reuse.base import AttentionCarry, AttentionParts, LayerAttention, SelfAttention
from asr.reuse.grouping import GroupReuse

MAP_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class ProbsCarry(AttentionCarry):
    """The leader's map (B, H, T, T), after the softmax and before dropout."""

    probs_BHTT: KeptRows[RowSource]


@dataclass(frozen=True, slots=True)
class RoundedRows:
    """The rows of a map, converted to another precision."""

    source: RowSource
    dtype: torch.dtype

    @property
    def num_frames(self) -> int:
        """T, the number of rows."""
        return self.source.num_frames

    def tiles(self, first_row: int = 0) -> Iterator[Tensor]:
        """Yield (B, H, R, T), one tile of rows at a time, from ``first_row`` on."""
        for tile_BHRT in self.source.tiles(first_row):
            with normalising:
                rounded_BHRT = tile_BHRT.to(self.dtype)
            yield rounded_BHRT


class LeadProbs(SelfAttention):
    """Computes the map, uses it and passes it on, in ``map_dtype`` if given."""

    def __init__(
        self, scores: AttentionScores, mix: ValueMix, *, map_dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(scores, mix)
        self.map_dtype = map_dtype

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and a carry with this layer's map."""
        if self.map_dtype is not None:
            return self._rounded(x_BTD, frames, self.map_dtype)
        probs_BHTT = self.scores.map(x_BTD, frames)
        return self.mix.by_kept(x_BTD, probs_BHTT, frames), ProbsCarry(probs_BHTT)

    def _rounded(
        self, x_BTD: Tensor, frames: Frames, dtype: torch.dtype
    ) -> tuple[Tensor, AttentionCarry]:
        """Do the same with a rounded map; a large one is never stored in full precision."""
        both = 2 * self.scores.num_heads
        if self.scores.rows_to_keep(x_BTD, num_heads=both) == x_BTD.shape[1]:
            probs_BHTT = self.scores(x_BTD, frames)
            with normalising:
                rounded_BHTT: KeptRows[RowSource] = KeptRows((probs_BHTT.to(dtype),))
            return self.mix(x_BTD, probs_BHTT, frames), ProbsCarry(rounded_BHTT)
        source = self.scores.map_rows(x_BTD, frames)
        num_kept = self.scores.rows_to_keep(x_BTD, dtype=dtype)
        kept_BHRT = RowBuffer(num_kept, dtype=dtype, tiles_last=False)
        tiles_BHRT = keep_first(source.tiles(), num_kept, kept_BHRT)
        output_BTD = self.mix.by_tiles(x_BTD, tiles_BHRT, frames)
        kept = (kept_BHRT.joined(),) if num_kept else ()
        return output_BTD, ProbsCarry(KeptRows(kept, RoundedRows(source, dtype)))


class FollowProbs(LayerAttention):
    """Mixes its own values by the leader's map."""

    def __init__(self, mix: ValueMix) -> None:
        super().__init__()
        self.mix = mix

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), and the carry unchanged for the next follower."""
        return self.mix.by_kept(x_BTD, ProbsCarry.of(carry).probs_BHTT, frames), carry

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return the leader's map, in the precision of ``x_BTD``."""
        return ProbsCarry.of(carry).probs_BHTT.whole().to(x_BTD.dtype)


@dataclass(frozen=True, kw_only=True)
class ReuseProbs(GroupReuse):
    """Attention map reuse on the given grouping; ALONE layers use the fused kernel.

    ``map_dtype`` is the dtype in which the map is passed on, None for the one it was computed in.

    Raises:
        InputError: ``map_dtype`` is not None, bfloat16 or float16.
    """

    name: ClassVar[str] = "probs"
    map_dtype: str | None = None

    def __post_init__(self) -> None:
        if self.map_dtype is not None and self.map_dtype not in MAP_DTYPES:
            raise InputError(
                f"reuse.map_dtype={self.map_dtype}: allowed: null, {', '.join(MAP_DTYPES)}"
            )

    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Return scores and mix."""
        map_dtype = None if self.map_dtype is None else MAP_DTYPES[self.map_dtype]
        return LeadProbs(parts.scores(), parts.mix(), map_dtype=map_dtype)

    def follow(self, parts: AttentionParts) -> LayerAttention:
        """Return a mix."""
        return FollowProbs(parts.mix())
