"""Where labels go so that none covers another.

The width of a text is estimated, a little too wide, since its font is known to the browser only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FONT_PX = 12.0
LINE_PX = 15.0
_WIDTH_EM = 0.6  # of a letter; sans-serif fonts have about 0.53 on average


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two share any area."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Whether ``other`` lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


def text_width(text: str) -> float:
    """Estimated width in pixels at `FONT_PX`."""
    ems = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else _WIDTH_EM for c in text)
    return ems * FONT_PX


def shortened(text: str, max_px: float) -> str:
    """``text`` with its middle left out where it is wider than ``max_px``."""
    if text_width(text) <= max_px:
        return text
    keep = len(text) - 1
    while keep > 1 and text_width(_without_middle(text, keep)) > max_px:
        keep -= 1
    return _without_middle(text, keep)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near ``wanted``, in the same order, ``gap`` or more apart, from ``low`` on.

    None exceeds ``high`` when all fit between the two.
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = [0.0] * len(wanted)
    bound = low
    for index in order:
        placed[index] = max(wanted[index], bound)
        bound = placed[index] + gap
    bound = max(high, low + gap * (len(wanted) - 1))
    for index in reversed(order):
        placed[index] = min(placed[index], bound)
        bound = placed[index] - gap
    return placed


def place_beside(
    x: float, y: float, text: str, taken: Iterable[Box], area: Box
) -> tuple[float, float, Box] | None:
    """Start, baseline and box of a label near the point (x, y); None when no place is free."""
    width, taken = text_width(text), list(taken)
    right, left, centre = x + 9, x - 9 - width, x - width / 2
    starts = [
        (right, y - 11),
        (left, y - 11),
        (right, y + 11),
        (left, y + 11),
        (right, y),
        (left, y),
    ]
    starts += [(centre, y - 15), (centre, y + 15)]
    starts += [(side, y + shift) for shift in (-26, 26) for side in (right, left)]
    for start, middle in starts:
        box = Box(start, middle - LINE_PX / 2, start + width, middle + LINE_PX / 2)
        if area.holds(box) and not any(box.meets(other) for other in taken):
            return start, middle + 4, box
    return None


def _without_middle(text: str, keep: int) -> str:
    head = (keep + 1) // 2
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (keep - head) :]}"
