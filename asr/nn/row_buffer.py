"""Tiles of rows, one after the other, as one tensor."""

from __future__ import annotations

import torch
from torch import Tensor


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
