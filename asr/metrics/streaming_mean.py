"""A mean over many observations that keeps two tensors, however many there are."""

from __future__ import annotations

import torch
from torch import Tensor


class StreamingMean:
    """Element by element; the tensors added must all have one shape.

    Sums are kept in float64 on the CPU.
    """

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._count: Tensor | None = None

    def add(self, total: Tensor, count: Tensor | float = 1.0) -> None:
        """Take in a sum of ``count`` observations; ``count`` broadcasts against ``total``."""
        total = total.detach().to("cpu", torch.float64)
        count = torch.as_tensor(count).detach().to("cpu", torch.float64)
        self._total = total if self._total is None else self._total + total
        self._count = count if self._count is None else self._count + count

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added yet."""
        return self._total is None

    @property
    def count(self) -> Tensor:
        """How many observations each element rests on, in the shape the counts had."""
        assert self._count is not None, "nothing was added"
        return self._count

    @property
    def mean(self) -> Tensor:
        """The mean so far; NaN for elements without observations."""
        assert self._total is not None, "nothing was added"
        return self._total / self.count
