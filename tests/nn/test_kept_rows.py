from __future__ import annotations

import pytest
import torch

from asr.nn.kept_rows import rows_to_keep


@pytest.mark.parametrize(
    ("max_mib", "num_kept"), [(None, 500), (500.0, 500), (499.0, 384), (127.0, 0), (0.0, 0)]
)
def test_rows_are_kept_in_whole_tiles(max_mib: float | None, num_kept: int) -> None:
    with torch.no_grad():
        assert rows_to_keep(500, row_bytes=2**20, max_mib=max_mib) == num_kept


def test_a_gradient_needs_all() -> None:
    assert rows_to_keep(500, row_bytes=2**20, max_mib=0.0) == 500
