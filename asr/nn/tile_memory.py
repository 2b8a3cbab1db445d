"""Memory that one tile of rows after the other takes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class TileMemory:
    """Gives every product the place of the one before it, where no gradient is taken.

    Large tiles that come and go beside small results that stay break the heap up: at five minutes
    of audio that takes as much again as all that is needed.
    """

    def __init__(self) -> None:
        self._memory_E: Tensor | None = None

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """``left @ right``; in inference it lasts until the next."""
        if (
            torch.is_grad_enabled()
            or torch.compiler.is_exporting()
            or left.is_meta
            or torch.is_autocast_enabled(left.device.type)
        ):
            return left @ right
        shape = (*left.shape[:-1], right.shape[-1])
        size = math.prod(shape)
        if self._memory_E is None or self._memory_E.numel() < size:
            self._memory_E = left.new_empty(size)
        return torch.matmul(left, right, out=self._memory_E[:size].view(shape))
