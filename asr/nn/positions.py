"""How frame positions enter the attention scores: the interface, and the choice of no positions.

Shape legend: B batch, H heads, T frames, K head width, V value width, R rows of a tile,
S frames that a tile of rows can see, P distances.
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


class Keys(NamedTuple):
    """Keys and where they stand: all that queries of any layer need to attend to them.

    ``positions`` is what the encoding of the layer that made the keys adds to them, or None.
    """

    k_BHTK: Tensor
    positions: Tensor | None = None


@dataclass(frozen=True)
class ScoreTerms:
    """What scores are computed of, as many rows at a time as are wanted: queries, scaled, and keys.

    Much smaller than the scores of long audio.
    """

    q_BHTK: Tensor
    k_BHTK: Tensor

    @property
    def num_frames(self) -> int:
        """T, the number of rows."""
        return self.q_BHTK.shape[2]

    @property
    def num_seen(self) -> int:
        """S, the number of frames that each row sees: T, or more of which the last T are these."""
        return self.k_BHTK.shape[2]

    @scoring
    def first_rows(self, num_rows: int | None = None) -> Tensor:
        """(B, H, num_rows, T), None for all; whole tiles of rows, unless it is all."""
        return self.q_BHTK[:, :, :num_rows] @ self.k_BHTK.transpose(-1, -2)

    def tiles(self, first_row: int = 0, *, lasting: bool = False) -> Iterator[Tensor]:
        """(B, H, R, T) for one tile of rows after the other, from ``first_row`` on.

        In inference each lasts until the next is asked for, unless they are to be ``lasting``.
        """
        memory = TileMemory()
        k_BHKT = self.k_BHTK.transpose(-1, -2)
        for rows, _ in row_tiles(self.num_frames):
            if rows.start >= first_row:
                q_BHRK = self.q_BHTK[:, :, rows]
                with scoring:
                    scores_BHRT = q_BHRK @ k_BHKT if lasting else memory.product(q_BHRK, k_BHKT)
                yield scores_BHRT

    @property
    def operands(self) -> Operands:
        """The same for `asr.nn.tiled_attention`, by which training attends."""
        return Operands(self.q_BHTK, self.k_BHTK)

    def heads(self, heads: slice) -> Self:
        """The terms of some of the heads."""
        return replace(self, q_BHTK=self.q_BHTK[:, heads], k_BHTK=self.k_BHTK[:, heads])


class Positions(nn.Module):
    """Attention scores without any position encoding; base of the encodings that have one.

    A position encoding lives in the score step of one layer. `keys` prepares keys, `scores`
    compares queries with them, and the two ways to attend never store all scores.
    """

    @staticmethod
    def table(num_frames: int, d_model: int, num_heads: int, like: Tensor) -> Tensor | None:
        """What the layers share for ``num_frames`` frames, on the device and dtype of ``like``."""
        return None

    @staticmethod
    def table_near(table: Tensor | None, reach: int) -> Tensor | None:
        """What of a table is needed by `attend` with this ``reach``."""
        return table

    def keep_between_calls(self) -> None:
        """Keep what depends on weights and the number of frames alone, until `train`: nothing."""

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Keys as queries meet them."""
        return Keys(k_BHTK)

    def queries(self, q_BHTK: Tensor, keys: Keys) -> Tensor:
        """Queries as the keys meet them."""
        return q_BHTK

    @projecting
    def terms(self, q_BHTK: Tensor, keys: Keys) -> ScoreTerms:
        """What the scores are computed of."""
        scaled_BHTK = self.queries(q_BHTK, keys) * q_BHTK.shape[-1] ** -0.5
        return ScoreTerms(scaled_BHTK, keys.k_BHTK)

    def scores(self, q_BHTK: Tensor, keys: Keys) -> Tensor:
        """Scaled scores (B, H, T, T) before masking and softmax."""
        return self.terms(q_BHTK, keys).first_rows()

    def score_tiles(self, q_BHTK: Tensor, keys: Keys) -> Iterator[Tensor]:
        """The same scores in tiles of rows, see `ScoreTerms.tiles`."""
        return self.terms(q_BHTK, keys).tiles()

    def has_kernel(self, keys: Keys, v_BHTV: Tensor) -> bool:
        """Whether `attend` has a kernel of ours here, which takes values wider than the heads."""
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
        """Context (B, H, T, K) through the fused kernel; equals softmax(scores) @ values.

        With ``reach`` every query sees that many frames to either side, and the cost is linear in
        T: a tile of rows at a time meets the slice of keys that it can see.
        """
        if torch.is_grad_enabled() and dropout and q_BHTK.is_cpu:  # the fused kernel has no dropout
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
    """Ranges of rows that cover the frames, each with the range of frames these rows can see.

    ``num_rows`` is how many rows a tile has, None for `TILE_ROWS`. An exported graph has no loop
    over an unknown number of frames: there one tile holds all.
    """
    if torch.compiler.is_exporting():
        return [(slice(0, num_frames), slice(0, num_frames))]
    tiles, num_rows = [], num_rows or TILE_ROWS
    for start in range(0, num_frames, num_rows):
        stop = min(start + num_rows, num_frames)
        first, last = (0, num_frames) if reach is None else (start - reach, stop + reach)
        tiles.append((slice(start, stop), slice(max(0, first), min(last, num_frames))))
    return tiles


def training_tiles(
    operands: Operands, padding_mask: Tensor | None, reach: int | None = None
) -> list[RowTile]:
    """The tiles by which training goes through the scores of ``operands``."""
    tiles = []
    for rows, seen in row_tiles(operands.content_BHTK.shape[2], reach):
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
    """(B or 1, 1, R or 1, S) bool, True = may be attended to, or None where everything may.

    Within a window every row may see itself: a row of padding far behind the last valid frame
    would otherwise see nothing, and its softmax be no number.
    """
    valid_BS = None if padding_mask is None else key_mask(padding_mask[:, seen])
    if reach is None:
        return valid_BS
    row_R1 = torch.arange(rows.start, rows.stop, device=device).unsqueeze(1)
    distance_RS = (row_R1 - torch.arange(seen.start, seen.stop, device=device)).abs()
    near_RS = (distance_RS <= reach)[None, None]
    return near_RS if valid_BS is None else near_RS & (valid_BS | (distance_RS == 0))


def key_mask(padding_mask: Tensor | None) -> Tensor | None:
    """(B, 1, 1, T) bool, True = may be attended to: the form the fused kernel takes."""
    return None if padding_mask is None else ~padding_mask[:, None, None, :]
