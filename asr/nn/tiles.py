"""Attention scores and maps in tiles of rows: memory, relative shift, gradients, stored rows.

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
    """Memory that successive products share if no gradient is taken.

    Allocating large tiles between small lasting results fragments the heap: at five minutes of
    audio that doubles the memory.
    """

    def __init__(self) -> None:
        self._memory_E: Tensor | None = None

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``left @ right``; in inference the next product overwrites it."""
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
    """A buffer that joins tiles of ``num_rows`` rows along ``dim``, in order.

    In inference each tile is copied into the result at once. If all were kept until the end, small
    results would lie between large temporary tiles and fragment the heap until no gap holds a tile:
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
        """Set up for tiles; ``dtype`` is that of the result, None for that of the tiles.

        A single tile is not copied if ``tiles_last``: it is not overwritten later.
        """
        self._num_rows = num_rows
        self._dim = dim
        self._dtype = dtype
        self._tiles_last = tiles_last
        self._tiles: list[Tensor] = []
        self._whole: Tensor | None = None
        self._num_taken = 0

    def append(self, tile: Tensor) -> None:
        """Append the next rows."""
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
        """Return all rows."""
        if self._whole is None:
            return self._tiles[0] if len(self._tiles) == 1 else torch.cat(self._tiles, self._dim)
        assert self._num_taken == self._num_rows
        return self._whole


def shift_rows(product_BHRP: Tensor, num_seen: int) -> Tensor:
    """Return a (B, H, R, S) view in which row i starts at column R - 1 - i of ``product``.

    ``product`` is (B, H, R, R + S - 1); its last axis holds the distances to the S visible frames.
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
    """Return the result of `shift_rows` without strides, which an exported graph lacks.

    With one extra column, rows read one short of their length start at the right place (Dai et al.
    2019, appendix B, from the other end).
    """
    rows, width = product_BHRP.shape[-2:]
    flat_BHE = functional.pad(product_BHRP, (0, 1)).flatten(2)[..., rows - 1 : -1]
    return flat_BHE.reshape(*product_BHRP.shape[:2], rows, width)[..., :num_seen]


def distances(rows: slice, seen: slice, r_HKP: Tensor, *, num_before: int = 0) -> slice:
    """Return the columns of ``r_HKP`` that a tile of rows needs for its visible frames.

    ``num_before`` is the number of visible frames before the first of all rows.
    """
    middle = r_HKP.shape[-1] // 2 - num_before
    return slice(middle - (rows.stop - 1 - seen.start), middle + seen.stop - rows.start)


TILE_ENTRIES = 2**18
"""Scores of a tile on a CPU; on other devices a tile holds the whole batch."""


class Operands(NamedTuple):
    """The inputs of the scores: scaled queries (q + u), keys, and with relative positions (q + v).

    ``r_HKP`` holds the projected distances. Without them, scores are the product of queries and
    keys.
    """

    content_BHTK: Tensor
    k_BHTK: Tensor
    position_BHTK: Tensor | None = None
    r_HKP: Tensor | None = None

    @property
    def num_before(self) -> int:
        """The number of frames with keys before the first one with a query."""
        return self.k_BHTK.shape[2] - self.content_BHTK.shape[2]

    def of_one_dtype(self) -> Self:
        """Return the operands in the dtype of the keys."""
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
    """A range of rows, their visible frames, and the distances between the two.

    ``hidden`` (B or 1, 1, R or 1, S) is True where a row may not look; None if it may look
    everywhere.
    """

    rows: slice
    seen: slice
    distances: slice | None = None
    hidden: Tensor | None = None


@dataclass(frozen=True, slots=True)
class ScoreTile:
    """A tile of rows for some utterances of the batch."""

    operands: Operands
    batch: slice
    at: RowTile

    @property
    def rows(self) -> tuple[slice, slice, slice]:
        """Index of the tile's rows in (B, H, T, ...)."""
        return self.batch, slice(None), self.at.rows

    @property
    def seen(self) -> tuple[slice, slice, slice]:
        """Index of their visible frames in (B, H, T, ...)."""
        return self.batch, slice(None), self.at.seen

    def probs(self) -> Tensor:
        """Return the softmax (b, H, R, S) of the scores, in float32 or higher."""
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
        """Add the gradients of the operands to ``total``.

        ``gradient`` (b, H, R, S) is that of ``probs``.
        """
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
    """Yield the tiles: for each of ``tiles``, groups of utterances."""
    batch, num_heads = operands.k_BHTK.shape[:2]
    for at in tiles:
        entries = num_heads * (at.rows.stop - at.rows.start) * (at.seen.stop - at.seen.start)
        step = max(1, TILE_ENTRIES // entries) if operands.k_BHTK.is_cpu else batch
        for first in range(0, batch, step):
            yield ScoreTile(operands, slice(first, min(first + step, batch)), at)


class RowSource(Protocol):
    """A source that computes rows of (B, H, T, T), as often as asked."""

    @property
    def num_frames(self) -> int:
        """T, the number of rows."""

    def tiles(self, first_row: int = 0) -> Iterator[Tensor]:
        """Yield (B, H, R, T), one tile of rows at a time, from ``first_row`` on.

        A tile begins at ``first_row``. Each tile is valid until the next is requested.
        """


Source = TypeVar("Source", bound=RowSource, covariant=True)


@dataclass(frozen=True, slots=True)
class KeptRows(Generic[Source]):
    """A tensor (B, H, T, T) whose first rows are stored; the others are computed when needed.

    ``kept`` holds (B, H, R, T) in order; ``source`` computes any row, None if all are stored.
    """

    kept: tuple[Tensor, ...]
    source: Source | None = None

    @property
    def num_frames(self) -> int:
        """T, the number of rows."""
        return self.source.num_frames if self.source else self.num_kept

    @property
    def num_kept(self) -> int:
        """The number of stored rows."""
        return sum(tile.shape[2] for tile in self.kept)

    def tiles(self) -> Iterator[Tensor]:
        """Yield all rows in order: the stored ones, then the others, computed."""
        yield from self.kept
        if self.source is not None:
            yield from self.source.tiles(self.num_kept)

    def whole(self) -> Tensor:
        """Return the whole (B, H, T, T)."""
        rows_BHTT = RowBuffer(self.num_frames)
        for tile_BHRT in self.tiles():
            rows_BHTT.append(tile_BHRT)
        return rows_BHTT.joined()


def keep_first(
    tiles_BHRT: Iterable[Tensor], num_rows: int, kept_BHRT: RowBuffer
) -> Iterator[Tensor]:
    """Yield the tiles unchanged, and append the first ``num_rows`` rows to ``kept`` on the way."""
    row = 0
    for tile_BHRT in tiles_BHRT:
        if row < num_rows:
            kept_BHRT.append(tile_BHRT)
        row += tile_BHRT.shape[2]
        yield tile_BHRT
