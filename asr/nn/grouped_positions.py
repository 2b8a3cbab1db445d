"""Positions of whole groups of frames, for heads that are wider than those of the encoder.

Shape legend: B batch, H heads, T frames, G groups, K head width, D model width, P distances.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asr.nn.positions import Keys
from asr.nn.relative import RelativePositions, falling_sinusoids
from asr.nn.rotary import RotaryPositions


class GroupedRelativePositions(RelativePositions):
    """Relative positions with the distance between the first frames of two groups.

    ``head_dim`` is the width of a head over a whole group.
    """

    def __init__(
        self, *, d_model: int, num_heads: int, head_dim: int, frames_per_group: int
    ) -> None:
        super().__init__(d_model=d_model, num_heads=num_heads, head_dim=head_dim)
        self.frames_per_group = frames_per_group

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Keys (B, H, G, K) of groups with their projected distances (H, K, 2G - 1).

        ``table`` holds the distances of frames; every so many of them is one of groups.
        """
        assert table is not None
        if torch.compiler.is_exporting():
            size, num_groups = self.frames_per_group, k_BHTK.shape[2]
            return super().keys(
                k_BHTK,
                falling_sinusoids(
                    (num_groups - 1) * size, size, 2 * num_groups - 1, table.shape[1], table
                ),
            )
        first = len(table) // 2 % self.frames_per_group
        return super().keys(k_BHTK, table[first :: self.frames_per_group])


class GroupedRotaryPositions(RotaryPositions):
    """Rotary positions that count in groups."""

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Keys (B, H, G, K) of groups, rotated; ``table`` is that of frames."""
        assert table is not None
        num_groups, head_dim = k_BHTK.shape[2:]
        return super().keys(k_BHTK, self.table(num_groups, head_dim, 1, table))
