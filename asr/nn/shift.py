"""The relative shift: products of rows with distances, read as scores of rows and frames.

Shape legend: B batch, H heads, R rows of a tile, S frames that these rows can see, P distances,
K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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


def distances(rows: slice, seen: slice, r_HKP: Tensor) -> slice:
    """The columns of ``r_HKP`` that a tile of rows needs for the frames it can see."""
    middle = r_HKP.shape[-1] // 2
    return slice(middle - (rows.stop - 1 - seen.start), middle + seen.stop - rows.start)
