"""Dropout that keeps a seed instead of a mask: the backward pass draws the mask again.

Drawing is what dropout costs on a CPU. Here every entry takes 15 random bits, four entries a
number, and keeping is a bitwise and: a float and all ones is the float, and no ones is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK = 2**16
"""Entries gone through at a time on a CPU: they stay in the cache."""

_LEVELS = 2**15
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class DropoutDraw:
    """One draw: ``num_kept`` of 32768 entries are kept on average, as ``seed`` says which."""

    num_kept: int
    seed: int

    @classmethod
    def at(cls, rate: float) -> Self | None:
        """A new draw from torch's generator, or None where ``rate`` drops nothing."""
        num_kept = round((1.0 - rate) * _LEVELS)
        if num_kept == _LEVELS:
            return None
        return cls(num_kept, int(torch.randint(2**63 - 1, ())))

    @property
    def scale(self) -> float:
        """What keeps the mean where it was."""
        return _LEVELS / self.num_kept if self.num_kept else 0.0

    def masks(self, device: torch.device) -> DropoutMasks:
        """The masks of this draw from the first one on."""
        return DropoutMasks(self, device)

    def apply(self, x: Tensor) -> Tensor:
        """``x`` with dropout, scaled."""
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
    """One mask after the other; those of the same sizes in the same order are the same."""

    def __init__(self, draw: DropoutDraw, device: torch.device) -> None:
        self._least = draw.num_kept - _LEVELS // 2
        self._device = device
        self._generator = torch.Generator(device).manual_seed(draw.seed)

    def next(self, like: Tensor) -> Tensor:
        """All ones where an entry of ``like`` is kept, else no ones; integers of its width."""
        numbers = torch.empty((like.numel() + 3) // 4, dtype=torch.int64, device=self._device)
        numbers.random_(-(2**63), None, generator=self._generator)
        lanes = numbers.view(torch.int16)[: like.numel()].bitwise_right_shift_(1)
        lanes = lanes.sub_(self._least).bitwise_right_shift_(15)
        return lanes.to(_BITS[like.element_size()]).view(like.shape)


def keep_(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` with zeros, in its place, where ``mask`` has no ones."""
    x.view(mask.dtype).bitwise_and_(mask)
    return x


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014); on a CPU by `DropoutDraw`, elsewhere torch's kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` in inference; in training with a part of it dropped and the others scaled."""
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
