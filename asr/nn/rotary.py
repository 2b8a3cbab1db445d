"""Rotary position encoding (Su et al. 2021, RoFormer, eq. 34).

Shape legend: B batch, H heads, T frames, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asr.nn.positions import Keys, Positions
from asr.nn.relative import WAVELENGTH_BASE
from asr.profiling.attention_steps import projecting


class RotaryPositions(Positions):
    """Rotates channel pairs (i, i + K/2) of queries and keys by an angle linear in time.

    The product of a query and a key then depends only on their distance, and the fused kernel can
    be used. It has no parameters.
    """

    @staticmethod
    def table(num_frames: int, d_model: int, num_heads: int, like: Tensor) -> Tensor | None:
        """Return (2, T, K) cosines and signed sines."""
        return rotations(num_frames, d_model // num_heads, like)

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Return the rotated keys, with the table for rotating the queries."""
        assert table is not None
        return Keys(rotate(k_BHTK, table), table)

    def queries(self, q_BHTK: Tensor, keys: Keys) -> Tensor:
        """Return the rotated queries; their positions are the last of the visible frames'."""
        table = keys.positions
        assert table is not None
        if table.shape[1] != q_BHTK.shape[2]:
            table = table[:, -q_BHTK.shape[2] :]
        return rotate(q_BHTK, table)


def rotations(num: int, head_dim: int, like: Tensor, *, first: int = 0, step: int = 1) -> Tensor:
    """Return (2, T, K) cosines and signed sines of ``num`` times, like ``like``."""
    pair = torch.arange(0, head_dim, 2, device=like.device, dtype=torch.float32)
    time = first + step * torch.arange(num, device=like.device, dtype=torch.float32)
    angle = torch.outer(time, WAVELENGTH_BASE ** (-pair / head_dim))
    cos, sin = angle.cos(), angle.sin()
    table = torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])
    return table.to(like.dtype)


@projecting
def rotate(x_BHTK: Tensor, table: Tensor) -> Tensor:
    """Rotate each pair (x_i, x_{i+K/2}) by its angle; ``table`` as in `RotaryPositions.table`."""
    cos, sin = table[0], table[1]
    return x_BHTK * cos + x_BHTK.roll(x_BHTK.shape[-1] // 2, -1) * sin
