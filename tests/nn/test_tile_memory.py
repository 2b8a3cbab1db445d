from __future__ import annotations

import pytest
import torch

from asr.nn.tiles import TileMemory


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
