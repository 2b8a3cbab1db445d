"""Relative position encoding of Transformer-XL (Dai et al. 2019, section 3.3), in row tiles.

    score(i, j) = ((q_i + u) . k_j + (q_i + v) . W r_{i-j}) / sqrt(K)

The position term of a tile of R rows is one product with the R + T - 1 distances that these rows
need. Row i starts at column R - 1 - i, so reading the product with a row stride one less than its
width *is* the relative shift: nothing is padded, copied or gathered. Inference processes one tile
of rows at a time, and only R x T scores ever exist.

Shape legend: B batch, H heads, T frames, K head width, D model width, R rows of a tile, S frames
visible to these rows, P distances with zero in the middle (2T - 1 for all frames).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.nn import positions, tiled_attention
from asr.nn.kernels import support
from asr.nn.positions import Keys, Positions, ScoreTerms, row_tiles, training_tiles, visible
from asr.nn.tiles import Operands, RowBuffer, TileMemory, distances, shift_rows
from asr.profiling.attention_steps import fused, projecting, scoring

WAVELENGTH_BASE = 10_000.0

# With this many rows, the CPU's fused kernel works in blocks of 64 rows instead of 32. It pays from
# four tiles on: the more rows a tile has, the more distances it needs.
LONG_TILE_ROWS = 192
LONG_FRAMES = 4 * LONG_TILE_ROWS
BIAS_ENTRIES = 3 * 2**19  # per tile, so that it stays in the cache until the kernel reads it
KEPT_DISTANCES_MIB = 4.0
"""Limit per layer: at width 256, the distances of 80 s of audio at 25 frames a second."""


class KeptDistances:
    """The projected distances of a layer, recomputed only if more of them are needed.

    They are kept in inference on a CPU, where weights do not change; otherwise nothing is kept.
    """

    def __init__(self) -> None:
        self._kept_HKP: Tensor | None = None

    def __call__(self, table_PD: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the projection (H, K, P) of the table, or a kept one that reaches further."""
        is_plain = table_PD.is_cpu and not torch.is_autocast_enabled("cpu")
        if torch.is_grad_enabled() or torch.compiler.is_exporting() or not is_plain:
            return project(table_PD)
        kept_HKP = self._kept_HKP
        if (
            kept_HKP is not None
            and kept_HKP.dtype == table_PD.dtype
            and kept_HKP.shape[-1] >= len(table_PD)
        ):
            return kept_HKP
        r_HKP = project(table_PD)
        if r_HKP.nbytes <= KEPT_DISTANCES_MIB * 2**20:
            self._kept_HKP = r_HKP
        return r_HKP


@dataclass(frozen=True)
class RelativeTerms(ScoreTerms):
    """Terms with relative positions.

    ``q_BHTK`` is scaled (q + u), ``position_BHTK`` scaled (q + v); ``r_HKP`` are the projected
    distances.
    """

    position_BHTK: Tensor
    r_HKP: Tensor

    @scoring
    def first_rows(self, num_rows: int | None = None) -> Tensor:
        """See `ScoreTerms.first_rows`; in inference on a CPU positions are added tile by tile."""
        scores_BHST = super().first_rows(num_rows)
        if torch.is_grad_enabled() or scores_BHST.is_cuda:  # a GPU is slow at many small tiles
            rows = slice(0, scores_BHST.shape[2])
            product = self.position_BHTK[:, :, rows] @ self.distances(rows)
            return scores_BHST + shift_rows(product, self.num_seen)
        tiles = row_tiles(scores_BHST.shape[2])
        for (rows, _), shifted_BHRT in zip(tiles, self._position_tiles(), strict=False):
            scores_BHST[:, :, rows] += shifted_BHRT
        return scores_BHST

    def tiles(
        self, first_row: int = 0, *, lasting: bool = False, num_rows: int | None = None
    ) -> Iterator[Tensor]:
        """See `ScoreTerms.tiles`."""
        tiles_BHRT = super().tiles(first_row, lasting=lasting, num_rows=num_rows)
        shifted = self._position_tiles(first_row, num_rows)
        for tile_BHRT, shifted_BHRT in zip(tiles_BHRT, shifted, strict=True):
            with scoring:
                tile_BHRT += shifted_BHRT
            yield tile_BHRT

    def _position_tiles(self, first_row: int = 0, num_rows: int | None = None) -> Iterator[Tensor]:
        """Yield the position term of each tile; the next one overwrites it."""
        memory = TileMemory()
        for rows, _ in row_tiles(self.num_frames, num_rows=num_rows):
            if rows.start >= first_row:
                r_HKP = self.distances(rows)
                with scoring:
                    product = memory.product(self.position_BHTK[:, :, rows], r_HKP)
                yield shift_rows(product, self.num_seen)

    def distances(self, rows: slice, seen: slice | None = None) -> Tensor:
        """Return the projected distances (H, K, R + S - 1) of rows to frames, None for all."""
        seen = slice(0, self.num_seen) if seen is None else seen
        num_before = self.num_seen - self.num_frames
        return self.r_HKP[:, :, distances(rows, seen, self.r_HKP, num_before=num_before)]

    @property
    def operands(self) -> Operands:
        """See `ScoreTerms.operands`."""
        return Operands(self.q_BHTK, self.k_BHTK, self.position_BHTK, self.r_HKP)

    def heads(self, heads: slice) -> Self:
        """See `ScoreTerms.heads`."""
        of_heads = super().heads(heads)
        return replace(
            of_heads, position_BHTK=self.position_BHTK[:, heads], r_HKP=self.r_HKP[heads]
        )


class BiasedQueries(NamedTuple):
    """Queries (B, H, T, K), and the content bias u and position bias v that scores add to them."""

    q_BHTK: Tensor
    content_bias_HK: Tensor
    position_bias_HK: Tensor


class RelativeQueries(Positions):
    """The query side: content bias u and position bias v. W r comes with the keys."""

    def __init__(self, *, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.content_bias_HK = nn.Parameter(torch.zeros(num_heads, head_dim))
        self.position_bias_HK = nn.Parameter(torch.zeros(num_heads, head_dim))

    def biased(self, q_BHTK: Tensor) -> BiasedQueries:
        """Return the queries and the biases to add to them."""
        return BiasedQueries(q_BHTK, self.content_bias_HK, self.position_bias_HK)

    @projecting
    def terms(self, q_BHTK: Tensor, keys: Keys) -> RelativeTerms:
        """Return the content and position terms of the scores."""
        assert keys.positions is not None
        q_BHTK, content_bias_HK, position_bias_HK = self.biased(q_BHTK)
        scale = q_BHTK.shape[-1] ** -0.5
        content_BHTK = (q_BHTK + content_bias_HK.unsqueeze(1)) * scale
        position_BHTK = (q_BHTK + position_bias_HK.unsqueeze(1)) * scale
        return RelativeTerms(content_BHTK, keys.k_BHTK, position_BHTK, keys.positions)

    @fused
    def attend(
        self,
        q_BHTK: Tensor,
        keys: Keys,
        v_BHTK: Tensor,
        padding_mask: Tensor | None,
        dropout: float,
        *,
        reach: int | None = None,
    ) -> Tensor:
        """Return fused attention, one tile of rows at a time, with the position term as its bias.

        Training uses `asr.nn.tiled_attention`, whose gradient needs no bias; on CUDA, where many
        small tiles are slow, it stores the bias of all rows. On CUDA without a gradient, our own
        kernel is used if it supports these sizes.
        """
        if dropout == 0.0 and self.has_kernel(keys, v_BHTK):
            biased = self.biased(q_BHTK)
            if biased.q_BHTK.shape[2] == keys.k_BHTK.shape[2]:
                return attend_by_kernel(biased, keys, v_BHTK, padding_mask, reach)
        terms = self.terms(q_BHTK, keys)
        if torch.is_grad_enabled() and reach is None and q_BHTK.is_cuda:
            return attend_at_once(terms, v_BHTK, padding_mask, dropout)
        if torch.is_grad_enabled():
            tiles = training_tiles(terms.operands, padding_mask, reach)
            return tiled_attention.attend(terms.operands, v_BHTK, tiles, dropout)
        if reach is None and has_long_tiles(terms):
            context_BTHK = attend_by_long_tiles(terms, v_BHTK, padding_mask, dropout)
        else:
            context_BTHK = attend_by_tiles(terms, v_BHTK, padding_mask, dropout, reach)
        return context_BTHK.transpose(1, 2)

    def has_kernel(self, keys: Keys, v_BHTV: Tensor) -> bool:
        """See `Positions.has_kernel`."""
        if not support.runs_here(v_BHTV):
            return False
        from asr.nn.kernels.relative_attention import tiling

        return tiling(v_BHTV.dtype, keys.k_BHTK.shape[-1], v_BHTV.shape[-1]) is not None


class RelativePositions(RelativeQueries):
    """Query and key side: the biases u and v, and the position projection W."""

    def __init__(self, *, d_model: int, num_heads: int, head_dim: int) -> None:
        super().__init__(num_heads=num_heads, head_dim=head_dim)
        self.num_heads = num_heads
        self.position = nn.Linear(d_model, num_heads * head_dim, bias=False)
        self.kept: KeptDistances | None = None

    def keep_between_calls(self) -> None:
        """Keep projected distances; see `Positions.keep_between_calls`."""
        self.kept = KeptDistances()

    def train(self, mode: bool = True) -> Self:
        """See `torch.nn.Module.train`."""
        super().train(mode)
        if mode:
            self.kept = None
        return self

    @staticmethod
    def table(num_frames: int, d_model: int, num_heads: int, like: Tensor) -> Tensor | None:
        """Return the sinusoids (P, D) of the distances T-1, ..., 0, ..., -(T-1)."""
        return falling_sinusoids(num_frames - 1, 1, 2 * num_frames - 1, d_model, like)

    @staticmethod
    def table_near(table: Tensor | None, reach: int) -> Tensor | None:
        """Return the distances from a tile's row to frames within ``reach`` of any of its rows."""
        assert table is not None
        if torch.compiler.is_exporting():  # one tile needs all distances
            return table
        middle, furthest = len(table) // 2, reach + positions.TILE_ROWS - 1
        return table[max(0, middle - furthest) : middle + furthest + 1]

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Return keys with the projected distances (H, K, P); kept ones may reach further."""
        assert table is not None
        kept = self.kept
        return Keys(k_BHTK, kept(table, self.project) if kept else self.project(table))

    def project(self, table_PD: Tensor) -> Tensor:
        """Return the projected distances (H, K, P)."""
        r_PD: Tensor = self.position(table_PD)
        return r_PD.view(r_PD.shape[0], self.num_heads, -1).permute(1, 2, 0)


def attend_by_kernel(
    biased: BiasedQueries,
    keys: Keys,
    v_BHTV: Tensor,
    padding_mask: Tensor | None,
    reach: int | None,
) -> Tensor:
    """Return the context (B, H, T, V) by our own kernel, in the dtype of the values."""
    from asr.nn.kernels.relative_attention import relative_attention

    assert keys.positions is not None
    dtype = v_BHTV.dtype
    context_BTHV = relative_attention(
        biased.q_BHTK.to(dtype),
        keys.k_BHTK.to(dtype),
        v_BHTV,
        keys.positions.to(dtype),
        biased.content_bias_HK.to(dtype),
        biased.position_bias_HK.to(dtype),
        padding_mask,
        reach,
    )
    return context_BTHV.transpose(1, 2)


def has_long_tiles(terms: RelativeTerms) -> bool:
    """Return whether `attend_by_long_tiles` is faster."""
    if torch.compiler.is_exporting() or terms.q_BHTK.is_cuda:  # an exported graph has one tile
        return False
    return terms.num_frames >= LONG_FRAMES


def attend_by_long_tiles(
    terms: RelativeTerms, v_BHTV: Tensor, padding_mask: Tensor | None, dropout: float
) -> Tensor:
    """Return the context (B, T, H, V) by the fused kernel, few heads and many rows at a time."""
    entries = len(terms.q_BHTK) * LONG_TILE_ROWS * (LONG_TILE_ROWS + terms.num_frames)
    num_heads = max(1, BIAS_ENTRIES // entries)
    contexts_BTHV = []
    for first in range(0, terms.q_BHTK.shape[1], num_heads):
        heads = slice(first, first + num_heads)
        context_BTHV = attend_by_tiles(
            terms.heads(heads), v_BHTV[:, heads], padding_mask, dropout, num_rows=LONG_TILE_ROWS
        )
        contexts_BTHV.append(context_BTHV)
    return torch.cat(contexts_BTHV, 2)


def attend_at_once(
    terms: RelativeTerms, v_BHTV: Tensor, padding_mask: Tensor | None, dropout: float
) -> Tensor:
    """Return the context (B, H, T, V) by the fused kernel, with one bias (B, H, T, T)."""
    context_BTHV = attend_by_tiles(terms, v_BHTV, padding_mask, dropout, num_rows=terms.num_frames)
    return context_BTHV.transpose(1, 2)


def attend_by_tiles(
    terms: RelativeTerms,
    v_BHTV: Tensor,
    padding_mask: Tensor | None,
    dropout: float,
    reach: int | None = None,
    *,
    num_rows: int | None = None,
) -> Tensor:
    """Return the context (B, T, H, V) by the fused kernel, ``num_rows`` rows at a time."""
    memory = TileMemory()
    contexts_BRHV = RowBuffer(terms.num_frames, dim=1)
    for rows, seen in row_tiles(terms.num_frames, reach, num_rows=num_rows):
        if reach is None:
            seen = slice(0, terms.num_seen)
        r_HKP = terms.distances(rows, seen)
        with scoring:
            product = memory.product(terms.position_BHTK[:, :, rows], r_HKP)
            bias = shift_rows(product, seen.stop - seen.start)
            allowed = visible(rows, seen, padding_mask, reach, bias.device)
            if allowed is not None:
                bias = bias.masked_fill(~allowed, float("-inf"))
        context_BHRV = functional.scaled_dot_product_attention(
            terms.q_BHTK[:, :, rows],
            terms.k_BHTK[:, :, seen],
            v_BHTV[:, :, seen],
            attn_mask=bias,
            dropout_p=dropout,
            scale=1.0,
        )
        contexts_BRHV.append(context_BHRV.transpose(1, 2))
    return contexts_BRHV.joined()


def falling_sinusoids(first: int, step: int, num: int, d_model: int, like: Tensor) -> Tensor:
    """Return (P, D) interleaved sines and cosines of ``num`` falling distances, like ``like``.

    An export keeps them symbolic.
    """
    channel = torch.arange(0, d_model, 2, device=like.device, dtype=torch.float32)
    index = torch.arange(num, device=like.device, dtype=torch.float32)
    distance = first - step * index
    angle = torch.outer(distance, WAVELENGTH_BASE ** (-channel / d_model))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).to(like.dtype)
