from __future__ import annotations

import torch

from asr.nn.tiles import shift_rows


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
