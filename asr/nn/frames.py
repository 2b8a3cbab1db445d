"""What every layer of a stack knows about the frames it sees."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Frames:
    """Made once per forward pass and handed to every layer.

    ``padding_mask`` is (B, T), True = padding, or None when nothing is padded. ``position_table``
    is whatever the position encoding computes once for T frames, or None.
    """

    padding_mask: Tensor | None = None
    position_table: Tensor | None = None
