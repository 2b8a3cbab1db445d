"""Dropout that stores a seed instead of a mask: the backward pass draws the mask again.

Drawing random numbers is the main cost of dropout on a CPU. Here each entry takes 15 random bits,
four entries per number, and the mask is applied by a bitwise and: with all ones a float is
unchanged, with all zeros it becomes zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK = 2**16
"""Entries processed at a time on a CPU, so that they stay in the cache."""

_LEVELS = 2**15
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class DropoutDraw:
    """One random mask: ``num_kept`` of 32768 entries are kept on average, chosen by ``seed``."""

    num_kept: int
    seed: int

    @classmethod
    def at(cls, rate: float) -> Self | None:
        """Return a new draw from torch's generator, or None if ``rate`` drops nothing."""
        num_kept = round((1.0 - rate) * _LEVELS)
        if num_kept == _LEVELS:
            return None
        return cls(num_kept, int(torch.randint(2**63 - 1, ())))

    @property
    def scale(self) -> float:
        """The factor that preserves the mean."""
        return _LEVELS / self.num_kept if self.num_kept else 0.0

    def masks(self, device: torch.device) -> DropoutMasks:
        """Return the masks of this draw, from the first one."""
        return DropoutMasks(self, device)

    def apply(self, x: Tensor) -> Tensor:
        """Return ``x`` with dropout, scaled."""
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        masks = self.masks(x.device)
        chunks = zip(
            torch.split(x.reshape(-1), CHUNK), torch.split(out.view(-1), CHUNK), strict=True
        )
        for given, taken in chunks:
            torch.mul(given, self.scale, out=taken)
            keep_(taken, masks.next(taken))
        return out


class DropoutMasks:
    """A sequence of masks; equal sizes in equal order give equal masks."""

    def __init__(self, draw: DropoutDraw, device: torch.device) -> None:
        self._least = draw.num_kept - _LEVELS // 2
        self._device = device
        self._generator = torch.Generator(device).manual_seed(draw.seed)

    def next(self, like: Tensor) -> Tensor:
        """Return integers as wide as ``like``: all bits set where an entry is kept, else zero."""
        numbers = torch.empty((like.numel() + 3) // 4, dtype=torch.int64, device=self._device)
        numbers.random_(-(2**63), None, generator=self._generator)
        lanes = numbers.view(torch.int16)[: like.numel()].bitwise_right_shift_(1)
        lanes = lanes.sub_(self._least).bitwise_right_shift_(15)
        return lanes.to(_BITS[like.element_size()]).view(like.shape)


def keep_(x: Tensor, mask: Tensor) -> Tensor:
    """Zero the entries of ``x``, in place, where ``mask`` is zero."""
    x.view(mask.dtype).bitwise_and_(mask)
    return x


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014); uses `DropoutDraw` on a CPU, else torch's kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` in inference; in training, ``x`` with a part dropped and the rest scaled."""
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        draw = DropoutDraw.at(self.p)
        if draw is None:
            return x
        dropped: Tensor = _Dropout.apply(x, draw)  # type: ignore[no-untyped-call]
        return dropped


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, draw: DropoutDraw) -> Tensor:
        ctx.draw = draw
        return draw.apply(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.draw.apply(gradient), None
