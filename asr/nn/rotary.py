"""Rotary position encoding (Su et al. 2021, RoFormer, eq. 34): queries and keys turn with time.

Shape legend: B batch, H heads, T frames, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asr.nn.positions import Keys, Positions
from asr.profiling.attention_steps import projecting

WAVELENGTH_BASE = 10_000.0


class RotaryPositions(Positions):
    """Rotates channel pairs (i, i + K/2) of queries and keys by an angle linear in time.

    The product of a query and a key then depends on their distance only, and the fused kernel
    stays in use. No parameters.
    """

    @staticmethod
    def table(num_frames: int, d_model: int, num_heads: int, like: Tensor) -> Tensor | None:
        """(2, T, K) cosines and signed sines."""
        return rotations(num_frames, d_model // num_heads, like)

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Rotated keys; the table travels with them to the queries."""
        assert table is not None
        return Keys(rotate(k_BHTK, table), table)

    def queries(self, q_BHTK: Tensor, keys: Keys) -> Tensor:
        """Rotated queries: of as many frames as they are, the last that are seen."""
        table = keys.positions
        assert table is not None
        if table.shape[1] != q_BHTK.shape[2]:
            table = table[:, -q_BHTK.shape[2] :]
        return rotate(q_BHTK, table)


def rotations(num: int, head_dim: int, like: Tensor, *, first: int = 0, step: int = 1) -> Tensor:
    """(2, T, K) cosines and signed sines of ``num`` times, on the device and dtype of ``like``."""
    pair = torch.arange(0, head_dim, 2, device=like.device, dtype=torch.float32)
    time = first + step * torch.arange(num, device=like.device, dtype=torch.float32)
    angle = torch.outer(time, WAVELENGTH_BASE ** (-pair / head_dim))
    cos, sin = angle.cos(), angle.sin()
    table = torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])
    return table.to(like.dtype)


@projecting
def rotate(x_BHTK: Tensor, table: Tensor) -> Tensor:
    """Each pair (x_i, x_{i+K/2}) turned by its angle; ``table`` as `RotaryPositions.table`."""
    cos, sin = table[0], table[1]
    return x_BHTK * cos + x_BHTK.roll(x_BHTK.shape[-1] // 2, -1) * sin
