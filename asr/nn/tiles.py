"""Attention scores and maps in tiles of rows: memory, relative shift, gradients, kept rows.

Shape legend: B batch, H heads, T frames, R rows of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional


class TileMemory:
    """Gives every product the place of the one before it, where no gradient is taken.

    Large tiles that come and go beside small results that stay break the heap up: at five minutes
    of audio that takes as much again as all that is needed.
    """

    def __init__(self) -> None:
        self._memory_E: Tensor | None = None

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """``left @ right``; in inference it lasts until the next."""
        if (
            torch.is_grad_enabled()
            or torch.compiler.is_exporting()
            or left.is_meta
            or torch.is_autocast_enabled(left.device.type)
        ):
            return left @ right
        shape = (*left.shape[:-1], right.shape[-1])
        size = math.prod(shape)
        if self._memory_E is None or self._memory_E.numel() < size:
            self._memory_E = left.new_empty(size)
        return torch.matmul(left, right, out=self._memory_E[:size].view(shape))


class RowBuffer:
    """Takes the tiles of ``num_rows`` rows along ``dim`` in order and joins them.

    In inference each is copied to its place at once. Kept until all are there, small results would
    lie between the large tiles that come and go, and break the heap up until no hole holds a tile:
    hundreds of MiB at five minutes of audio.
    """

    def __init__(
        self,
        num_rows: int,
        *,
        dim: int = 2,
        dtype: torch.dtype | None = None,
        tiles_last: bool = True,
    ) -> None:
        """``dtype`` is that of what is joined, None for that of the tiles.

        A single tile is not copied where ``tiles_last``.
        """
        self._num_rows = num_rows
        self._dim = dim
        self._dtype = dtype
        self._tiles_last = tiles_last
        self._tiles: list[Tensor] = []
        self._whole: Tensor | None = None
        self._num_taken = 0

    def append(self, tile: Tensor) -> None:
        """Take the next rows."""
        if torch.is_grad_enabled() or torch.compiler.is_exporting():
            self._tiles.append(tile if self._dtype is None else tile.to(self._dtype))
            return
        shape = list(tile.shape)
        num_new, shape[self._dim] = shape[self._dim], self._num_rows
        if num_new == self._num_rows and self._tiles_last and self._dtype in (None, tile.dtype):
            self._whole = tile
        elif self._whole is None:
            self._whole = tile.new_empty(shape, dtype=self._dtype)
        if self._whole is not tile:
            self._whole.narrow(self._dim, self._num_taken, num_new).copy_(tile)
        self._num_taken += num_new

    def joined(self) -> Tensor:
        """All rows."""
        if self._whole is None:
            return self._tiles[0] if len(self._tiles) == 1 else torch.cat(self._tiles, self._dim)
        assert self._num_taken == self._num_rows
        return self._whole


def shift_rows(product_BHRP: Tensor, num_seen: int) -> Tensor:
    """(B, H, R, S) view in which row i starts at column R - 1 - i of ``product``.

    ``product`` is (B, H, R, R + S - 1), its last axis the distances to the S frames seen.
    """
    if torch.compiler.is_exporting():
        return shifted_copy(product_BHRP, num_seen)
    product_BHRP = product_BHRP.contiguous()
    rows, width = product_BHRP.shape[-2:]
    batch_stride, head_stride, _, _ = product_BHRP.stride()
    return product_BHRP.as_strided(
        (*product_BHRP.shape[:2], rows, num_seen),
        (batch_stride, head_stride, max(width - 1, 1), 1),
        product_BHRP.storage_offset() + rows - 1,
    )


def shifted_copy(product_BHRP: Tensor, num_seen: int) -> Tensor:
    """What `shift_rows` sees, without strides: an exported graph has none.

    With one column more, rows one short of their length begin where they should (Dai et al. 2019,
    appendix B, from the other end).
    """
    rows, width = product_BHRP.shape[-2:]
    flat_BHE = functional.pad(product_BHRP, (0, 1)).flatten(2)[..., rows - 1 : -1]
    return flat_BHE.reshape(*product_BHRP.shape[:2], rows, width)[..., :num_seen]


def distances(rows: slice, seen: slice, r_HKP: Tensor, *, num_before: int = 0) -> slice:
    """The columns of ``r_HKP`` that a tile of rows needs for the frames it can see.

    ``num_before`` is how many of the frames seen are before the first of all rows.
    """
    middle = r_HKP.shape[-1] // 2 - num_before
    return slice(middle - (rows.stop - 1 - seen.start), middle + seen.stop - rows.start)


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

    @property
    def num_before(self) -> int:
        """Frames with keys before the first one with a query."""
        return self.k_BHTK.shape[2] - self.content_BHTK.shape[2]

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


class RowSource(Protocol):
    """Computes rows of (B, H, T, T) as often as it is asked."""

    @property
    def num_frames(self) -> int:
        """T."""

    def tiles(self, first_row: int = 0) -> Iterator[Tensor]:
        """(B, H, R, T) for one tile of rows after the other, from ``first_row`` on.

        A tile begins there. Each lasts until the next is asked for.
        """


Source = TypeVar("Source", bound=RowSource, covariant=True)


@dataclass(frozen=True, slots=True)
class KeptRows(Generic[Source]):
    """(B, H, T, T) whose first rows are kept; the others are computed whenever they are needed.

    ``kept`` holds (B, H, R, T) in order; ``source`` knows all rows, None where all are kept.
    """

    kept: tuple[Tensor, ...]
    source: Source | None = None

    @property
    def num_frames(self) -> int:
        """T."""
        return self.source.num_frames if self.source else self.num_kept

    @property
    def num_kept(self) -> int:
        """How many rows are kept."""
        return sum(tile.shape[2] for tile in self.kept)

    def tiles(self) -> Iterator[Tensor]:
        """All rows in order: those kept as they are, the others computed."""
        yield from self.kept
        if self.source is not None:
            yield from self.source.tiles(self.num_kept)

    def whole(self) -> Tensor:
        """(B, H, T, T)."""
        rows_BHTT = RowBuffer(self.num_frames)
        for tile_BHRT in self.tiles():
            rows_BHTT.append(tile_BHRT)
        return rows_BHTT.joined()


def keep_first(
    tiles_BHRT: Iterable[Tensor], num_rows: int, kept_BHRT: RowBuffer
) -> Iterator[Tensor]:
    """The tiles as they come; the first ``num_rows`` rows are put into ``kept`` on the way."""
    row = 0
    for tile_BHRT in tiles_BHRT:
        if row < num_rows:
            kept_BHRT.append(tile_BHRT)
        row += tile_BHRT.shape[2]
        yield tile_BHRT
