"""Numbers for people: few digits, and the unit with them."""

from __future__ import annotations

import math

MISSING = "-"


def count_text(count: float) -> str:
    """Three digits and a prefix: 1250000 is "1.25 M", 950 is "950"."""
    count = float(f"{count:.3g}")
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= size:
            return f"{number_text(count / size)} {prefix}"
    return f"{count:g}"


def number_text(number: float) -> str:
    """Three digits, or all before the point: "4.21", "87.3", "1532"."""
    if abs(number) >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if abs(number) >= 9.995 else f"{number:.2f}"


def duration_text(seconds: float) -> str:
    """The two largest units: "48 s", "5 min 14 s", "2 h 05 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def percent_text(percent: float) -> str:
    """A rate in percent with two decimals, without the sign; "-" for NaN."""
    return MISSING if math.isnan(percent) else f"{percent:.2f}"


def speedup_text(speedup: float, low: float | None = None, high: float | None = None) -> str:
    """A factor with two decimals and its interval: "1.18x [1.15, 1.21]"; none around exactly 1."""
    if low is None or high is None or low == speedup == high:
        return f"{speedup:.2f}x"
    return f"{speedup:.2f}x [{low:.2f}, {high:.2f}]"
