"""Attention scores and their gradient, one tile at a time: what training computes twice.

A tile is some rows of some utterances, small enough for the cache of a CPU. Its scores are made of
operands that grow with T alone; given the gradient of the scores, that of the operands is added up
over the tiles.

Shape legend: B batch (b of them in a tile), H heads, T frames, S frames that a tile of rows can
see, K head width, R rows of a tile, P distances, W distances that a tile of rows can see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from asr.nn.shift import shift_rows

TILE_ENTRIES = 2**18
"""Scores of a tile on a CPU; on other devices a tile holds the whole batch."""


class Operands(NamedTuple):
    """What scores are made of: scaled queries (q + u), keys, and of a relative encoding (q + v).

    ``r_HKP`` are the projected distances. The product of queries and keys is all where there are
    none.
    """

    content_BHTK: Tensor
    k_BHTK: Tensor
    position_BHTK: Tensor | None = None
    r_HKP: Tensor | None = None

    def of_one_dtype(self) -> Self:
        """All as precise as the keys, which matrix products made."""
        dtype = self.k_BHTK.dtype
        content_BHTK = self.content_BHTK.to(dtype)
        if self.position_BHTK is None or self.r_HKP is None:
            return self._replace(content_BHTK=content_BHTK)
        return self._replace(
            content_BHTK=content_BHTK,
            position_BHTK=self.position_BHTK.to(dtype),
            r_HKP=self.r_HKP.to(dtype),
        )


@dataclass(frozen=True, slots=True)
class RowTile:
    """Rows, the frames they can see, and the distances between both.

    ``hidden`` (B or 1, 1, R or 1, S) is True where a row may not look, None if there is no such.
    """

    rows: slice
    seen: slice
    distances: slice | None = None
    hidden: Tensor | None = None


@dataclass(frozen=True, slots=True)
class ScoreTile:
    """Rows of some utterances."""

    operands: Operands
    batch: slice
    at: RowTile

    @property
    def rows(self) -> tuple[slice, slice, slice]:
        """Where the rows of the tile are in (B, H, T, ...)."""
        return self.batch, slice(None), self.at.rows

    @property
    def seen(self) -> tuple[slice, slice, slice]:
        """Where the frames that they can see are in (B, H, T, ...)."""
        return self.batch, slice(None), self.at.seen

    def probs(self) -> Tensor:
        """Softmax (b, H, R, S) of the scores, in float32 at least."""
        scores = self.operands.content_BHTK[self.rows] @ self.keys.transpose(-1, -2)
        if self.operands.position_BHTK is not None:
            product = self.operands.position_BHTK[self.rows] @ self.distances
            scores += shift_rows(product, scores.shape[-1])
        if scores.dtype.itemsize < 4:
            scores = scores.float()
        if self.at.hidden is not None:
            hidden = self.at.hidden
            scores.masked_fill_(hidden if len(hidden) == 1 else hidden[self.batch], float("-inf"))
        return torch.softmax(scores, -1, out=scores)

    @property
    def keys(self) -> Tensor:
        """Keys (b, H, S, K)."""
        return self.operands.k_BHTK[self.seen]

    @property
    def distances(self) -> Tensor:
        """Projected distances (H, K, W)."""
        assert self.operands.r_HKP is not None
        assert self.at.distances is not None
        return self.operands.r_HKP[:, :, self.at.distances]

    def add_gradient(self, probs: Tensor, gradient: Tensor, total: Operands) -> None:
        """Add to ``total`` what the gradient (b, H, R, S) of ``probs`` is to the operands."""
        scores_gradient = torch.ops.aten._softmax_backward_data(gradient, probs, -1, probs.dtype)
        scores_gradient = scores_gradient.to(self.keys.dtype)
        total.content_BHTK[self.rows] = scores_gradient @ self.keys
        total.k_BHTK[self.seen] += (
            scores_gradient.transpose(-1, -2) @ self.operands.content_BHTK[self.rows]
        )
        if self.operands.position_BHTK is None:
            return
        assert total.position_BHTK is not None
        assert total.r_HKP is not None
        position, num_seen = self.operands.position_BHTK[self.rows], gradient.shape[-1]
        product_gradient = position.new_zeros(*gradient.shape[:3], self.distances.shape[-1])
        shift_rows(product_gradient, num_seen).copy_(scores_gradient)
        total.position_BHTK[self.rows] = product_gradient @ self.distances.transpose(-1, -2)
        distances_gradient = position.transpose(-1, -2) @ product_gradient
        total.r_HKP[:, :, self.at.distances] += distances_gradient.sum(0)


def score_tiles(operands: Operands, tiles: Sequence[RowTile]) -> Iterator[ScoreTile]:
    """All tiles: every utterance, and every one of ``tiles``."""
    batch, num_heads = operands.k_BHTK.shape[:2]
    for at in tiles:
        entries = num_heads * (at.rows.stop - at.rows.start) * (at.seen.stop - at.seen.start)
        step = max(1, TILE_ENTRIES // entries) if operands.k_BHTK.is_cpu else batch
        for first in range(0, batch, step):
            yield ScoreTile(operands, slice(first, min(first + step, batch)), at)
