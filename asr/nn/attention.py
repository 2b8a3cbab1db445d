"""Self-attention in three steps that can each be shared: project, score, mix.

`AttentionScores` owns the parameters that decide *where* to look (query, key, positions),
`ValueMix` those that decide *what* is passed on (value, output). A layer that reuses an attention
map has only a `ValueMix`.

Shape legend: B batch, T frames, D model width, H heads, K head width (D = H * K with all heads), R
rows of a tile, S visible frames (all T, or a window), V value width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr.nn import positions as tiling
from asr.nn import tiled_attention
from asr.nn.dropout import Dropout
from asr.nn.frames import ALL, Frames
from asr.nn.kernels import support
from asr.nn.positions import Keys, Positions, ScoreTerms, training_tiles
from asr.nn.tiles import KeptRows, RowBuffer, RowSource
from asr.profiling.attention_steps import mixing, normalising, projecting


class AttentionScores(nn.Module):
    """Queries, keys and positions of one layer (Vaswani et al. 2017, eq. 1).

    ``max_map_mib`` limits the memory for stored maps or scores in inference; None sets no limit.
    """

    def __init__(
        self,
        *,
        d_model: int,
        num_heads: int,
        head_dim: int,
        positions: Positions,
        max_map_mib: float | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.max_map_mib = max_map_mib
        self.query = nn.Linear(d_model, num_heads * head_dim)
        self.key = nn.Linear(d_model, num_heads * head_dim)
        self.positions = positions

    def forward(self, x_BTD: Tensor, frames: Frames) -> Tensor:
        """Return the attention map (B, H, T, T); rows sum to one, padding columns are zero."""
        if torch.is_grad_enabled():
            operands = self.positions.terms(*self.project(x_BTD, frames)).operands
            tiles = training_tiles(operands, frames.hidden)
            return tiled_attention.attention_map(operands, tiles)
        return softmax_over_keys(self.scores(x_BTD, frames), frames.hidden)

    def map(
        self, x_BTD: Tensor, frames: Frames, *, num_heads: int | None = None
    ) -> KeptRows[MapRows]:
        """Return the map, storing as many rows as memory allows; see `rows_to_keep`."""
        num_kept = self.rows_to_keep(x_BTD, num_heads=num_heads)
        if num_kept == x_BTD.shape[1]:
            return KeptRows((self(x_BTD, frames),))
        source = self.map_rows(x_BTD, frames)
        kept_BHRT = softmax_over_keys(source.terms.first_rows(num_kept), frames.hidden)
        return KeptRows((kept_BHRT,), source)

    def map_rows(self, x_BTD: Tensor, frames: Frames) -> MapRows:
        """Return the map as a source that computes it tile by tile."""
        return MapRows(self.positions.terms(*self.project(x_BTD, frames)), frames.hidden)

    def rows_to_keep(
        self, x_BTD: Tensor, *, num_heads: int | None = None, dtype: torch.dtype | None = None
    ) -> int:
        """Return how many rows of this layer's map or scores may be stored.

        ``num_heads`` is the number of heads whose maps exist at the same time, None for this
        layer's. ``dtype`` is the storage dtype, None for that of ``x_BTD``.
        """
        batch, num_frames, _ = x_BTD.shape
        row_bytes = batch * (num_heads or self.num_heads) * num_frames
        row_bytes *= (dtype or x_BTD.dtype).itemsize
        return rows_to_keep(num_frames, row_bytes=row_bytes, max_mib=self.max_map_mib)

    def scores(self, x_BTD: Tensor, frames: Frames) -> Tensor:
        """Return the scores before the softmax, (B, H, T, T)."""
        return self.positions.scores(*self.project(x_BTD, frames))

    @projecting
    def project(self, x_BTD: Tensor, frames: Frames) -> tuple[Tensor, Keys]:
        """Return queries (B, H, T, K), and the visible frames' keys with their positions."""
        q_BHTK = split_heads(self.query(x_BTD), self.num_heads)
        k_BHTK = split_heads(frames.seen(self.key(x_BTD)), self.num_heads)
        return q_BHTK, self.positions.keys(k_BHTK, frames.position_table)


@dataclass(frozen=True, slots=True)
class MapRows:
    """The rows of a map (B, H, T, T), computed on demand from the terms of its scores."""

    terms: ScoreTerms
    padding_mask: Tensor | None

    @property
    def num_frames(self) -> int:
        """T, the number of rows."""
        return self.terms.num_frames

    def tiles(self, first_row: int = 0) -> Iterator[Tensor]:
        """Yield (B, H, R, T), one tile of rows at a time, from ``first_row`` on."""
        for scores_BHRT in self.terms.tiles(first_row):
            yield softmax_over_keys(scores_BHRT, self.padding_mask)

    def heads(self, heads: slice) -> MapRows:
        """Return the rows of some of the heads."""
        return MapRows(self.terms.heads(heads), self.padding_mask)


class ValueMix(nn.Module):
    """Values and output projection of one layer; mixes values by an attention map."""

    def __init__(self, *, d_model: int, num_heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.value = nn.Linear(d_model, num_heads * head_dim)
        self.output = nn.Linear(num_heads * head_dim, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, probs_BHTT: Tensor, frames: Frames = ALL) -> Tensor:
        """Return the output (B, T, D) for a whole map; see `context`.

        On CUDA, a map in half precision uses our own kernel if no gradient is taken and every frame
        sees all others.
        """
        is_square = frames.window is None
        if is_square and self.dropout_now == 0.0 and support.runs_here(probs_BHTT, support.HALF):
            from asr.nn.kernels.mix import mix_values

            check_width(probs_BHTT, x_BTD.shape[1])
            with mixing:
                output_BTD: Tensor = self.output(mix_values(probs_BHTT, self.value(x_BTD)))
            return output_BTD
        return self.by_tiles(x_BTD, (probs_BHTT,), frames)

    def by_kept(
        self, x_BTD: Tensor, probs_BHTT: KeptRows[RowSource], frames: Frames = ALL
    ) -> Tensor:
        """Return the output (B, T, D) for a map whose first rows are stored."""
        if probs_BHTT.source is None:
            return self(x_BTD, probs_BHTT.whole(), frames)  # type: ignore[no-any-return]
        return self.by_tiles(x_BTD, probs_BHTT.tiles(), frames)

    def by_tiles(self, x_BTD: Tensor, probs_BHRT: Iterable[Tensor], frames: Frames = ALL) -> Tensor:
        """Return the output (B, T, D) for a map that comes in tiles of rows."""
        v_BHSK = self.project(x_BTD, frames)
        return self.merge(self.context(v_BHSK, probs_BHRT, num_rows=x_BTD.shape[1]))

    @mixing
    def context(self, v_BHSK: Tensor, probs_BHRS: Iterable[Tensor], *, num_rows: int) -> Tensor:
        """Return the context (B, H, T, K) for a map of ``num_rows`` rows that comes in tiles.

        Dropout is applied to the map here, so each layer that uses a map has its own dropout. The
        product is computed in the precision of the map.

        Raises:
            ValueError: the map's number of frames differs from the number of values.
        """
        contexts_BHRK = RowBuffer(num_rows, dtype=v_BHSK.dtype)
        for tile_BHRS in probs_BHRS:
            check_width(tile_BHRS, v_BHSK.shape[2])
            contexts_BHRK.append(self.mix(tile_BHRS, v_BHSK))
        return contexts_BHRK.joined()

    def attend(
        self,
        scores_BHRT: Tensor,
        v_BHTV: Tensor,
        padding_mask: Tensor | None,
        *,
        in_place: bool = True,
    ) -> Tensor:
        """Return the context (B, H, R, V) for rows of scores.

        ``in_place`` is that of `softmax_over_keys`.
        """
        probs_BHRT = softmax_over_keys(scores_BHRT, padding_mask, in_place=in_place)
        return self.mix(probs_BHRT, v_BHTV)

    @mixing
    def mix(self, probs_BHRT: Tensor, v_BHTV: Tensor) -> Tensor:
        """Return the context (B, H, R, V) for rows of a map, with dropout on the map."""
        if torch.is_grad_enabled():
            return tiled_attention.mix_by_map(probs_BHRT, v_BHTV, self.dropout_now)
        context_BHRV: Tensor = self.dropout(probs_BHRT) @ v_BHTV.to(probs_BHRT.dtype)
        return context_BHRV

    def project(self, x_BTD: Tensor, frames: Frames = ALL) -> Tensor:
        """Return the values (B, H, S, K) of the visible frames."""
        return split_heads(frames.seen(self.value(x_BTD)), self.num_heads)

    def merge(self, context_BHTK: Tensor) -> Tensor:
        """Apply the output projection to the context of all heads, giving (B, T, D)."""
        output: Tensor = self.output(merge_heads(context_BHTK))
        return output

    @property
    def dropout_now(self) -> float:
        """Dropout rate of the map: the configured rate in training, else 0."""
        return self.dropout.p if self.training else 0.0


class OutputOnly(nn.Module):
    """The output projection alone, for a layer that also takes its values from its leader."""

    def __init__(self, *, d_model: int) -> None:
        super().__init__()
        self.output = nn.Linear(d_model, d_model)

    def merge(self, context_BHTK: Tensor) -> Tensor:
        """Apply the output projection to the context of all heads, giving (B, T, D)."""
        output: Tensor = self.output(merge_heads(context_BHTK))
        return output


def check_width(probs_BHRT: Tensor, num_frames: int) -> None:
    """Raise ValueError unless a map covers ``num_frames`` frames."""
    if probs_BHRT.shape[-1] != num_frames:
        raise ValueError(
            f"an attention map over {probs_BHRT.shape[-1]} frames cannot serve a layer with "
            f"{num_frames} frames: reuse must not cross a change of frame rate"
        )


def split_heads(x_BTD: Tensor, num_heads: int) -> Tensor:
    """View (B, T, D) as (B, H, T, K), without a copy."""
    return x_BTD.view(*x_BTD.shape[:2], num_heads, -1).transpose(1, 2)


@mixing
def merge_heads(x_BHTK: Tensor) -> Tensor:
    """Convert (B, H, T, K) back to (B, T, D)."""
    return x_BHTK.transpose(1, 2).flatten(2)


@normalising
def softmax_over_keys(
    scores_BHTT: Tensor, padding_mask: Tensor | None, *, in_place: bool = True
) -> Tensor:
    """Return the softmax over the keys that are not padding.

    If no gradient is taken, the result overwrites the scores, unless ``in_place`` is False.
    """
    hidden = None if padding_mask is None else padding_mask[:, None, None, :]
    if torch.is_grad_enabled() or not in_place:
        if hidden is not None:
            scores_BHTT = scores_BHTT.masked_fill(hidden, float("-inf"))
        return scores_BHTT.softmax(-1)
    if hidden is not None:
        scores_BHTT.masked_fill_(hidden, float("-inf"))
    return torch.softmax(scores_BHTT, -1, out=scores_BHTT)


def rows_to_keep(num_frames: int, *, row_bytes: int, max_mib: float | None) -> int:
    """Return how many rows of ``row_bytes`` fit in ``max_mib``, rounded down to whole tiles.

    All ``num_frames`` rows are stored if ``max_mib`` is None, if a gradient is taken, and in an
    exported graph, where T is unknown.
    """
    if max_mib is None or torch.is_grad_enabled() or torch.compiler.is_exporting():
        return num_frames
    num_rows = int(max_mib * 2**20 / row_bytes)
    if num_rows >= num_frames:
        return num_frames
    return num_rows // tiling.TILE_ROWS * tiling.TILE_ROWS
