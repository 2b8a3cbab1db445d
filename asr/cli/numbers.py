"""Numbers as options take them; argparse adds the option's name to what is wrong."""

from __future__ import annotations

import argparse
import math


def count(text: str) -> int:
    """A whole number, 1 or more."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def seconds(text: str) -> float:
    """Seconds above 0."""
    number = _finite(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def seconds_or_none(text: str) -> float:
    """Seconds, 0 or more."""
    number = _finite(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return number


def milliseconds(text: str) -> float:
    """Milliseconds above 0."""
    number = _finite(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds above 0")
    return number


def share(text: str) -> float:
    """A number from 0 to 1."""
    number = _finite(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def level_or_off(text: str) -> float | None:
    """A level in dB of full scale, from -200 to 0; None for ``off``."""
    if text == "off":
        return None
    number = _finite(text)
    if not -200 <= number <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of decibels from -200 to 0 nor 'off'"
        )
    return number


def _finite(text: str) -> float:
    """The number, NaN where there is none."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
