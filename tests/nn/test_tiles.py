"""Tiles of rows: where products are stored, how they are joined, shifted and kept."""

from __future__ import annotations

import pytest
import torch

from asr.nn.attention import rows_to_keep
from asr.nn.tiles import RowBuffer, TileMemory, shift_rows


@pytest.mark.parametrize("grad", [True, False])
def test_products_share_memory_only_where_no_gradient_is_taken(grad: bool) -> None:
    left, right = torch.randn(2, 3, 4, 5), torch.randn(3, 5, 6)
    memory = TileMemory()
    with torch.set_grad_enabled(grad):
        first = memory.product(left, right)
        torch.testing.assert_close(first, left @ right)
        last = memory.product(left[:, :, :2], right)
        torch.testing.assert_close(last, left[:, :, :2] @ right)
    assert (first.data_ptr() == last.data_ptr()) == (not grad)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("tile_rows", [2, 7])
def test_tiles_are_joined_in_order(grad: bool, tile_rows: int) -> None:
    whole = torch.randn(2, 3, 7, 4)
    with torch.set_grad_enabled(grad):
        buffer = RowBuffer(7, dtype=torch.float64)
        for tile in torch.split(whole, tile_rows, 2):
            buffer.append(tile)
        assert torch.equal(buffer.joined(), whole.double())


def test_a_single_tile_is_copied_only_where_it_does_not_last() -> None:
    tile = torch.randn(1, 1, 3, 2)
    places = []
    with torch.no_grad():
        for tiles_last in (True, False):
            buffer = RowBuffer(3, tiles_last=tiles_last)
            buffer.append(tile)
            places.append(buffer.joined().data_ptr())
    assert [place == tile.data_ptr() for place in places] == [True, False]


def test_shift_rows_is_a_view_in_which_each_row_starts_one_earlier() -> None:
    product = torch.arange(2.0 * 3 * 7).view(1, 2, 3, 7)

    shifted = shift_rows(product, 5)

    assert shifted.data_ptr() == product[0, 0, 0, 2:].data_ptr()
    for row in range(3):
        assert torch.equal(shifted[:, :, row], product[:, :, row, 2 - row : 7 - row])


def test_shift_rows_of_a_slice() -> None:
    """Tiles are cut from larger tensors: the view must not assume that storage starts at zero."""
    product = torch.arange(2.0 * 4 * 7).view(1, 2, 4, 7)[:, :, 1:]

    assert torch.equal(shift_rows(product, 5), shift_rows(product.clone(), 5))


@pytest.mark.parametrize(
    ("max_mib", "num_kept"), [(None, 500), (500.0, 500), (499.0, 384), (127.0, 0), (0.0, 0)]
)
def test_rows_are_kept_in_whole_tiles(max_mib: float | None, num_kept: int) -> None:
    with torch.no_grad():
        assert rows_to_keep(500, row_bytes=2**20, max_mib=max_mib) == num_kept


def test_a_gradient_needs_all() -> None:
    assert rows_to_keep(500, row_bytes=2**20, max_mib=0.0) == 500
