"""From values to pixels, and the values to mark on an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_LOG_FROM = 8.0  # largest over smallest value from which an axis is logarithmic
_PADDING = 0.07  # of the length of the axis, on either side
_NUM_TICKS = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """``low`` lies at ``start_px``, ``high`` at ``end_px``."""

    low: float
    high: float
    start_px: float
    end_px: float
    log: bool = False

    def __post_init__(self) -> None:
        assert self.low < self.high
        assert not self.log or self.low > 0

    def __call__(self, value: float) -> float:
        """Pixel of ``value``."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    def ticks(self) -> list[float]:
        """Round values within the scale, smallest first."""
        return self._log_ticks() if self.log else self._linear_ticks()

    def _linear_ticks(self) -> list[float]:
        rough = (self.high - self.low) / _NUM_TICKS
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(s for s in (size, 2 * size, 5 * size, 10 * size) if s >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [_rounded(count * step) for count in range(first, last + 1)]

    def _log_ticks(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        digits = (1, 2, 5) if last - first <= 4 else (1,)
        values = [_rounded(d * 10.0**power) for power in range(first, last + 1) for d in digits]
        return [value for value in values if self.low <= value <= self.high]


def fitted(values: Iterable[float], start_px: float, end_px: float) -> Scale:
    """A scale that holds all ``values`` with some room; logarithmic where they differ much."""
    values = list(values)
    low, high = min(values), max(values)
    if low > 0 and high / low >= _LOG_FROM:
        room = (high / low) ** _PADDING
        return Scale(low / room, high * room, start_px, end_px, log=True)
    room = (high - low) * _PADDING or abs(high) * 0.1 or 1.0
    floor = 0.0 if low >= 0 else -math.inf
    return Scale(max(low - room, floor), high + room, start_px, end_px)


def from_zero(high: float, start_px: float, end_px: float) -> Scale:
    """A linear scale from 0 to ``high``, for bars."""
    return Scale(0.0, high if high > 0 else 1.0, start_px, end_px)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
