"""Scores and maps that grow with the square of the frames, and are kept as far as memory allows.

Shape legend: B batch, H heads, T frames, R rows of a tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from asr.nn import positions
from asr.nn.tiles import RowBuffer


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
        return self.source.num_frames if self.source else self.kept[0].shape[-1]

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


def rows_to_keep(num_frames: int, *, row_bytes: int, max_mib: float | None) -> int:
    """How many of ``num_frames`` rows of ``row_bytes`` fit, in whole tiles; all if None is given.

    Where a gradient is taken it needs all of them, and an exported graph knows no T to decide by.
    """
    if max_mib is None or torch.is_grad_enabled() or torch.compiler.is_exporting():
        return num_frames
    num_rows = int(max_mib * 2**20 / row_bytes)
    if num_rows >= num_frames:
        return num_frames
    return num_rows // positions.TILE_ROWS * positions.TILE_ROWS
