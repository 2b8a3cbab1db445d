"""The interface of position encodings, and attention scores without one.

Shape legend: B batch, H heads, T frames, K head width, V value width, R rows of a tile, S frames
visible to a tile of rows, P distances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.nn import tiled_attention
from asr.nn.tiles import Operands, RowBuffer, RowTile, TileMemory, distances
from asr.profiling.attention_steps import fused, projecting, scoring

PositionKind = Literal["relative", "rotary", "none"]

TILE_ROWS = 128
ACCELERATOR_ENTRIES = 2**26
ACCELERATOR_TRAINING_ENTRIES = 2**28
"""Scores of a tile on other devices than a CPU, which are slow at many small tiles."""


class Keys(NamedTuple):
    """Keys and their positions: all that queries of any layer need to attend to them.

    ``positions`` is what the position encoding of the layer that made the keys adds to them, or
    None.
    """

    k_BHTK: Tensor
    positions: Tensor | None = None


@dataclass(frozen=True)
class ScoreTerms:
    """The terms from which rows of scores are computed on demand: scaled queries, and keys.

    They are much smaller than the scores of long audio.
    """

    q_BHTK: Tensor
    k_BHTK: Tensor

    @property
    def num_frames(self) -> int:
        """T, the number of rows."""
        return self.q_BHTK.shape[2]

    @property
    def num_seen(self) -> int:
        """S, the visible frames of each row: T, or more, of which the last T are the rows' own."""
        return self.k_BHTK.shape[2]

    @scoring
    def first_rows(self, num_rows: int | None = None) -> Tensor:
        """Return the first ``num_rows`` rows (B, H, num_rows, T) of the scores.

        ``num_rows`` is a whole number of tiles, or None for all rows.
        """
        return self.q_BHTK[:, :, :num_rows] @ self.k_BHTK.transpose(-1, -2)

    def tiles(
        self, first_row: int = 0, *, lasting: bool = False, num_rows: int | None = None
    ) -> Iterator[Tensor]:
        """Yield (B, H, R, T), one tile of rows at a time, from ``first_row`` on.

        In inference a tile is overwritten by the next one, unless ``lasting``. ``num_rows`` is that
        of `row_tiles`.
        """
        memory = TileMemory()
        k_BHKT = self.k_BHTK.transpose(-1, -2)
        for rows, _ in row_tiles(self.num_frames, num_rows=num_rows):
            if rows.start >= first_row:
                q_BHRK = self.q_BHTK[:, :, rows]
                with scoring:
                    scores_BHRT = q_BHRK @ k_BHKT if lasting else memory.product(q_BHRK, k_BHKT)
                yield scores_BHRT

    @property
    def operands(self) -> Operands:
        """The terms in the form that `asr.nn.tiled_attention` takes for training."""
        return Operands(self.q_BHTK, self.k_BHTK)

    def heads(self, heads: slice) -> Self:
        """Return the terms of some of the heads."""
        return replace(self, q_BHTK=self.q_BHTK[:, heads], k_BHTK=self.k_BHTK[:, heads])


class Positions(nn.Module):
    """Attention scores without position encoding, and the base class of the position encodings.

    A position encoding is part of the score step of one layer. `keys` prepares the keys, `scores`
    compares queries with them, and `score_tiles` and `attend` never store all scores.
    """

    @staticmethod
    def table(num_frames: int, d_model: int, num_heads: int, like: Tensor) -> Tensor | None:
        """Return what the layers share for ``num_frames`` frames, or None.

        A table has the device and dtype of ``like``.
        """
        return None

    @staticmethod
    def table_near(table: Tensor | None, reach: int) -> Tensor | None:
        """Return the slice of the table that `attend` needs for this ``reach``."""
        return table

    def keep_between_calls(self) -> None:
        """Keep between calls what only weights and lengths determine, until `train`.

        This class has nothing to keep.
        """

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Return the keys with their positions applied."""
        return Keys(k_BHTK)

    def queries(self, q_BHTK: Tensor, keys: Keys) -> Tensor:
        """Return the queries with their positions applied."""
        return q_BHTK

    @projecting
    def terms(self, q_BHTK: Tensor, keys: Keys) -> ScoreTerms:
        """Return the terms of the scores."""
        scaled_BHTK = self.queries(q_BHTK, keys) * q_BHTK.shape[-1] ** -0.5
        return ScoreTerms(scaled_BHTK, keys.k_BHTK)

    def scores(self, q_BHTK: Tensor, keys: Keys) -> Tensor:
        """Return the scaled scores (B, H, T, T) before masking and softmax."""
        return self.terms(q_BHTK, keys).first_rows()

    def score_tiles(self, q_BHTK: Tensor, keys: Keys) -> Iterator[Tensor]:
        """Return the scaled scores in tiles of rows, see `ScoreTerms.tiles`.

        On other devices than a CPU the tiles are large.
        """
        terms = self.terms(q_BHTK, keys)
        return terms.tiles(num_rows=rows_at_once(terms.k_BHTK, ACCELERATOR_ENTRIES))

    def has_kernel(self, keys: Keys, v_BHTV: Tensor) -> bool:
        """Return whether `attend` uses our own kernel, which takes values wider than the heads."""
        return False

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
        """Return the context (B, H, T, K) by the fused kernel; equals softmax(scores) @ values.

        With ``reach`` every query sees that many frames on either side, and the cost is linear in
        T: each tile of rows uses only the slice of keys that it can see.
        """
        if torch.is_grad_enabled() and dropout and q_BHTK.is_cpu:  # the fused kernel lacks dropout
            operands = self.terms(q_BHTK, keys).operands
            tiles = training_tiles(operands, padding_mask, reach)
            return tiled_attention.attend(operands, v_BHTK, tiles, dropout)
        queries_BHTK = self.queries(q_BHTK, keys)
        if reach is None:
            return functional.scaled_dot_product_attention(
                queries_BHTK,
                keys.k_BHTK,
                v_BHTK,
                attn_mask=key_mask(padding_mask),
                dropout_p=dropout,
            )
        contexts_BRHK = RowBuffer(q_BHTK.shape[2], dim=1)
        for rows, seen in row_tiles(q_BHTK.shape[2], reach):
            context_BHRK = functional.scaled_dot_product_attention(
                queries_BHTK[:, :, rows],
                keys.k_BHTK[:, :, seen],
                v_BHTK[:, :, seen],
                attn_mask=visible(rows, seen, padding_mask, reach, q_BHTK.device),
                dropout_p=dropout,
            )
            contexts_BRHK.append(context_BHRK.transpose(1, 2))
        return contexts_BRHK.joined().transpose(1, 2)


def row_tiles(
    num_frames: int, reach: int | None = None, *, num_rows: int | None = None
) -> list[tuple[slice, slice]]:
    """Return ranges of rows that cover the frames, each with the range of its visible frames.

    ``num_rows`` is the number of rows of a tile, None for `TILE_ROWS`. An exported graph cannot
    loop over an unknown number of frames: there a single tile holds all.
    """
    if torch.compiler.is_exporting():
        return [(slice(0, num_frames), slice(0, num_frames))]
    tiles, num_rows = [], num_rows or TILE_ROWS
    for start in range(0, num_frames, num_rows):
        stop = min(start + num_rows, num_frames)
        first, last = (0, num_frames) if reach is None else (start - reach, stop + reach)
        tiles.append((slice(start, stop), slice(max(0, first), min(last, num_frames))))
    return tiles


def rows_at_once(k_BHTK: Tensor, most_entries: int) -> int:
    """Return the rows of a tile: `TILE_ROWS` on a CPU, else as many as ``most_entries`` allow."""
    if k_BHTK.is_cpu:
        return TILE_ROWS
    batch, num_heads, num_seen, _ = k_BHTK.shape
    return max(TILE_ROWS, most_entries // (batch * num_heads * num_seen))


def training_tiles(
    operands: Operands, padding_mask: Tensor | None, reach: int | None = None
) -> list[RowTile]:
    """Return the tiles in which training processes the scores of ``operands``.

    On other devices than a CPU they are large, unless they are limited by ``reach``.
    """
    tiles, num_rows = [], TILE_ROWS
    if reach is None:
        num_rows = rows_at_once(operands.k_BHTK, ACCELERATOR_TRAINING_ENTRIES)
    for rows, seen in row_tiles(operands.content_BHTK.shape[2], reach, num_rows=num_rows):
        if reach is None:
            seen = slice(0, operands.k_BHTK.shape[2])
        allowed = visible(rows, seen, padding_mask, reach, operands.k_BHTK.device)
        hidden = None if allowed is None else ~allowed
        r_HKP = operands.r_HKP
        needed = (
            None if r_HKP is None else distances(rows, seen, r_HKP, num_before=operands.num_before)
        )
        tiles.append(RowTile(rows, seen, needed, hidden))
    return tiles


@scoring
def visible(
    rows: slice,
    seen: slice,
    padding_mask: Tensor | None,
    reach: int | None,
    device: torch.device,
) -> Tensor | None:
    """Return (B or 1, 1, R or 1, S) bool, True = may be attended to; None if everything may.

    Within a window every row may see itself: otherwise a row of padding far after the last valid
    frame would see nothing, and its softmax would be NaN.
    """
    valid_BS = None if padding_mask is None else key_mask(padding_mask[:, seen])
    if reach is None:
        return valid_BS
    row_R1 = torch.arange(rows.start, rows.stop, device=device).unsqueeze(1)
    distance_RS = (row_R1 - torch.arange(seen.start, seen.stop, device=device)).abs()
    near_RS = (distance_RS <= reach)[None, None]
    return near_RS if valid_BS is None else near_RS & (valid_BS | (distance_RS == 0))


def key_mask(padding_mask: Tensor | None) -> Tensor | None:
    """Return (B, 1, 1, T) bool, True = may be attended to, as the fused kernel takes it."""
    return None if padding_mask is None else ~padding_mask[:, None, None, :]
