from __future__ import annotations

import pytest
import torch

from asr.nn.tiles import RowBuffer


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
