"""Followers reuse the leader's scores, before the softmax, and correct them.

After EfficientASR (2404.19214), which shares attention scores across layers with a residual update
and an emphasis of the diagonal. Its equations were not available: the two corrections here are our
reconstruction. ``diagonal`` adds a learned bias per head and distance near the diagonal;
``low_rank`` adds the product of narrow queries and keys (as LiSA, 2408.01890, does after training).
A follower passes on its corrected scores. Scores are passed on as tiles of rows.

Shape legend: B batch, T frames, D model width, H heads, K head width, W distances of the band, R
rows of a tile, S keys near these rows, N channels of a narrow head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol, Self, get_args

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.nn import positions
from asr.nn.attention import ValueMix, softmax_over_keys, split_heads
from asr.nn.frames import ALL, Frames
from asr.nn.tiles import KeptRows, RowBuffer, RowSource
from asr.profiling.attention_steps import mixing, projecting, scoring
from asr.ranges import Range, in_ranges
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    LayerAttention,
    SelfAttention,
    check_frame_rate,
)
from asr.reuse.grouping import GroupReuse

Correction = Literal["none", "diagonal", "low_rank"]


class AddedTerms(Protocol):
    """Terms that corrections add to scores; the sum of two corrections is again such terms."""

    def plus(self, other: Self) -> Self:
        """Return the sum with another layer's terms of the same kind."""

    def corrected(self, scores_BHRT: Iterable[Tensor], first_row: int = 0) -> Iterator[Tensor]:
        """Yield the scores with these terms added, tile by tile, from ``first_row`` on."""


@dataclass(frozen=True, slots=True)
class DiagonalTerms:
    """A bias per head and distance (H, W); ``num_before`` keys are before the first row."""

    bias_HW: Tensor
    num_before: int = 0

    def plus(self, other: DiagonalTerms) -> DiagonalTerms:
        """Return the sum, of the same width."""
        return DiagonalTerms(self.bias_HW + other.bias_HW, self.num_before)

    def corrected(self, scores_BHRT: Iterable[Tensor], first_row: int = 0) -> Iterator[Tensor]:
        """Yield the scores with the band around the diagonal corrected, tile by tile."""
        bandwidth = self.bias_HW.shape[1] // 2
        row = first_row + self.num_before
        for tile_BHRT in scores_BHRT:
            num_rows, num_frames = tile_BHRT.shape[2:]
            first, stop = max(0, row - bandwidth), row + num_rows + bandwidth
            with scoring:
                near = torch.arange(first, min(stop, num_frames), device=tile_BHRT.device)
                rows = torch.arange(row, row + num_rows, device=tile_BHRT.device)
                distance_RS = near - rows.unsqueeze(1)
                index_RS = distance_RS.clamp(-bandwidth, bandwidth) + bandwidth
                bias_HRS = self.bias_HW[:, index_RS] * (distance_RS.abs() <= bandwidth)
                corrected_BHRT = tile_BHRT.clone()
                corrected_BHRT[..., first:stop] += bias_HRS
            yield corrected_BHRT
            row += num_rows


@dataclass(frozen=True, slots=True)
class LowRankTerms:
    """Narrow queries (B, H, T, N) and keys (B, H, N, T); a sum concatenates their channels."""

    q_BHTN: Tensor
    k_BHNT: Tensor

    def plus(self, other: LowRankTerms) -> LowRankTerms:
        """Return one product for both."""
        return LowRankTerms(
            torch.cat((self.q_BHTN, other.q_BHTN), 3), torch.cat((self.k_BHNT, other.k_BHNT), 2)
        )

    def corrected(self, scores_BHRT: Iterable[Tensor], first_row: int = 0) -> Iterator[Tensor]:
        """Yield the scores plus the products, tile by tile."""
        row = first_row
        for tile_BHRT in scores_BHRT:
            stop = row + tile_BHRT.shape[2]
            with scoring:
                corrected_BHRT = self.q_BHTN[:, :, row:stop] @ self.k_BHNT
                if torch.is_grad_enabled() or corrected_BHRT.dtype != tile_BHRT.dtype:
                    corrected_BHRT = tile_BHRT + corrected_BHRT
                else:
                    corrected_BHRT.add_(tile_BHRT)
            yield corrected_BHRT
            row = stop


class NoTerms:
    """Terms that add nothing."""

    def plus(self, other: NoTerms) -> NoTerms:
        """Return no terms."""
        return self

    def corrected(self, scores_BHRT: Iterable[Tensor], first_row: int = 0) -> Iterator[Tensor]:
        """Return the scores unchanged."""
        return iter(scores_BHRT)


class ScoreCorrection(nn.Module, ABC):
    """The correction that a follower adds to its leader's scores, computed from its own input."""

    @abstractmethod
    def terms(self, x_BTD: Tensor, frames: Frames = ALL) -> AddedTerms:
        """Return the terms to add to the scores."""

    def forward(
        self, scores_BHRT: Iterable[Tensor], x_BTD: Tensor, frames: Frames = ALL
    ) -> Iterator[Tensor]:
        """Yield the corrected scores, tile by tile."""
        return self.terms(x_BTD, frames).corrected(scores_BHRT)


class DiagonalCorrection(ScoreCorrection):
    """A bias per head and distance, for distances up to ``bandwidth`` frames; initially zero."""

    def __init__(self, *, num_heads: int, bandwidth: int) -> None:
        super().__init__()
        self.bandwidth = bandwidth
        self.bias_HW = nn.Parameter(torch.zeros(num_heads, 2 * bandwidth + 1))

    def terms(self, x_BTD: Tensor, frames: Frames = ALL) -> DiagonalTerms:
        """Return the biases, which are the same for every input."""
        return DiagonalTerms(self.bias_HW, frames.num_before)


class LowRankCorrection(ScoreCorrection):
    """The product of queries and keys of ``rank`` channels per head; initially zero."""

    def __init__(self, *, d_model: int, num_heads: int, rank: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.rank = rank
        self.narrow_query = nn.Linear(d_model, num_heads * rank, bias=False)
        self.narrow_key = nn.Linear(d_model, num_heads * rank, bias=False)
        nn.init.zeros_(self.narrow_query.weight)

    def terms(self, x_BTD: Tensor, frames: Frames = ALL) -> LowRankTerms:
        """Return narrow queries and keys of this input."""
        with projecting:
            q_BHTN = split_heads(self.narrow_query(x_BTD), self.num_heads) * self.rank**-0.5
        k_BHSN = split_heads(frames.seen(self.narrow_key(x_BTD)), self.num_heads)
        return LowRankTerms(q_BHTN, k_BHSN.transpose(-1, -2))


class NoCorrection(ScoreCorrection):
    """A correction that leaves the scores unchanged."""

    def terms(self, x_BTD: Tensor, frames: Frames = ALL) -> NoTerms:
        """Return no terms."""
        return NoTerms()


@dataclass(frozen=True, slots=True)
class ScoresCarry(AttentionCarry):
    """The scores before the softmax (B, H, T, T), in tiles of rows; padding is not masked."""

    scores_BHTT: KeptRows[RowSource]


@dataclass(frozen=True, slots=True)
class CorrectedRows:
    """Rows of a leader's scores, plus the corrections of all layers since, added at once.

    Corrections do not nest: the rows of the tenth follower cost as much as those of the first,
    except for the channels that ``low_rank`` adds.
    """

    source: RowSource
    terms: AddedTerms

    @classmethod
    def of(cls, source: RowSource, terms: AddedTerms) -> CorrectedRows:
        """Return ``source``, which may be corrected already, with one more correction."""
        if isinstance(source, CorrectedRows):
            return cls(source.source, source.terms.plus(terms))
        return cls(source, terms)

    @property
    def num_frames(self) -> int:
        """T, the number of rows."""
        return self.source.num_frames

    def tiles(self, first_row: int = 0) -> Iterator[Tensor]:
        """Yield (B, H, R, T), one tile of rows at a time, from ``first_row`` on."""
        return self.terms.corrected(self.source.tiles(first_row), first_row)


class LeadScores(SelfAttention):
    """Computes the scores, uses them and passes them on."""

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and a carry with this layer's scores."""
        terms = self.scores.positions.terms(*self.scores.project(x_BTD, frames))
        # A follower's scores exist beside those it corrects.
        num_kept = self.scores.rows_to_keep(x_BTD, num_heads=2 * self.scores.num_heads)
        source = None if num_kept == terms.num_frames else terms
        return attend_and_keep(
            self.mix, x_BTD, terms.tiles(lasting=source is None), num_kept, source, frames
        )


class FollowScores(LayerAttention):
    """Corrects its leader's scores, attends with them and passes them on."""

    def __init__(self, correction: ScoreCorrection, mix: ValueMix) -> None:
        super().__init__()
        self.correction = correction
        self.mix = mix

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and a carry with the corrected scores."""
        given = self._given(x_BTD, carry)
        terms = self.correction.terms(x_BTD, frames)
        tiles_BHRT = terms.corrected(given.tiles())
        source = given.source and CorrectedRows.of(given.source, terms)
        return attend_and_keep(self.mix, x_BTD, tiles_BHRT, given.num_kept, source, frames)

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return the map of the corrected scores."""
        scores_BHTT = RowBuffer(x_BTD.shape[1])
        for tile_BHRT in self.correction(self._given(x_BTD, carry).tiles(), x_BTD, frames):
            scores_BHTT.append(tile_BHRT)
        return softmax_over_keys(scores_BHTT.joined(), frames.hidden, in_place=False)

    def _given(self, x_BTD: Tensor, carry: AttentionCarry | None) -> KeptRows[RowSource]:
        scores_BHTT = ScoresCarry.of(carry).scores_BHTT
        check_frame_rate(scores_BHTT.num_frames, x_BTD.shape[1])
        return scores_BHTT


def attend_and_keep(
    mix: ValueMix,
    x_BTD: Tensor,
    tiles_BHRT: Iterable[Tensor],
    num_kept: int,
    source: RowSource | None,
    frames: Frames,
) -> tuple[Tensor, AttentionCarry]:
    """Return the output (B, T, D) for these scores, and a carry with their first ``num_kept`` rows.

    ``source`` computes the other rows again; without a source the tiles must be lasting. Each tile
    is used at once: only scores are stored, never the map.
    """
    v_BHTK = mix.project(x_BTD, frames)
    lasting_BHRT: list[Tensor] = []
    copied_BHRT = RowBuffer(num_kept, tiles_last=False)
    contexts_BHRK = RowBuffer(x_BTD.shape[1])
    num_done = 0
    for tile_BHRT in tiles_BHRT:
        is_kept = num_done < num_kept
        if is_kept and source is None:
            lasting_BHRT.append(tile_BHRT)
        elif is_kept:
            with scoring:
                copied_BHRT.append(tile_BHRT)
        num_done += tile_BHRT.shape[2]
        context_BHRK = mix.attend(tile_BHRT, v_BHTK, frames.hidden, in_place=not is_kept)
        with mixing:
            contexts_BHRK.append(context_BHRK)
    if source is not None and num_kept:
        lasting_BHRT.extend(torch.split(copied_BHRT.joined(), positions.TILE_ROWS, 2))
    handed_on = ScoresCarry(KeptRows(tuple(lasting_BHRT), source))
    return mix.merge(contexts_BHRK.joined()), handed_on


@in_ranges("reuse")
@dataclass(frozen=True, kw_only=True)
class ReuseScores(GroupReuse):
    """Score reuse with a correction per follower.

    ``bandwidth`` in frames is for ``diagonal``, ``rank`` in channels per head for ``low_rank``.

    Raises:
        InputError: ``correction`` is unknown, or ``bandwidth`` or ``rank`` is below 1.
    """

    name: ClassVar[str] = "scores"
    correction: Correction = "diagonal"
    bandwidth: Annotated[int, Range(1, 1000)] = 8
    rank: Annotated[int, Range(1, 256)] = 8

    def __post_init__(self) -> None:
        if self.correction not in get_args(Correction):
            raise InputError(
                f"reuse.correction={self.correction!r}: allowed: {', '.join(get_args(Correction))}"
            )

    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Return scores and mix."""
        return LeadScores(parts.scores(), parts.mix())

    def follow(self, parts: AttentionParts) -> LayerAttention:
        """Return a correction and a mix."""
        return FollowScores(self._make_correction(parts), parts.mix())

    def _make_correction(self, parts: AttentionParts) -> ScoreCorrection:
        if self.correction == "diagonal":
            return DiagonalCorrection(num_heads=parts.num_heads, bandwidth=self.bandwidth)
        if self.correction == "low_rank":
            return LowRankCorrection(
                d_model=parts.d_model, num_heads=parts.num_heads, rank=self.rank
            )
        return NoCorrection()
