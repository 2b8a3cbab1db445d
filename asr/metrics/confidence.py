"""Calibration of word confidences: how well they separate right words from wrong ones.

A temperature corrects confidences that are too high or too low.

Shape legend: N words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from asr.errors import InputError

_NUM_BINS = 15
SHARE = 0.9
_LEAST = 5e-5
"""Confidences nearer to 0 or 1 count as this far away: they are written with four digits."""
_NUM_STEPS = 100


@dataclass(frozen=True, slots=True)
class Calibration:
    """The quality of the confidences of ``num_words`` words of hypotheses; all from 0 to 1.

    ``error``: expected calibration error in 15 bins of equal width (Guo et al. 2017, equation 5).
    ``area``: area under the ROC curve, the probability that a right word has a higher confidence
    than a wrong one; NaN if all are right or all are wrong. ``wrong`` is the fraction of wrong
    words, and ``wrong_of_surest`` the same among the 90 % with the highest confidence.
    """

    num_words: int
    error: float
    area: float
    wrong: float
    wrong_of_surest: float

    def __str__(self) -> str:
        """Return the figures in one line."""
        return (
            f"calibration error {100 * self.error:.1f} %, area under the curve {self.area:.3f}; "
            f"{100 * self.wrong:.1f} % of {self.num_words:,} words wrong, "
            f"{100 * self.wrong_of_surest:.1f} % of the surest {100 * SHARE:.0f} %"
        )


def calibration(confidences: Sequence[float], is_right: Sequence[bool]) -> Calibration:
    """Compare confidences (N,) with whether the words are right (N,); at least one word."""
    sure_N = np.asarray(confidences, dtype=np.float64)
    right_N = np.asarray(is_right, dtype=np.bool_)
    assert len(sure_N) == len(right_N) > 0
    bins_N = np.minimum((sure_N * _NUM_BINS).astype(np.int64), _NUM_BINS - 1)
    gaps = np.bincount(bins_N, sure_N - right_N, _NUM_BINS)
    by_confidence = np.argsort(-sure_N, kind="stable")
    num_surest = max(1, round(SHARE * len(sure_N)))
    return Calibration(
        num_words=len(sure_N),
        error=float(np.abs(gaps).sum() / len(sure_N)),
        area=_area(sure_N[right_N], sure_N[~right_N]),
        wrong=float(1 - right_N.mean()),
        wrong_of_surest=float(1 - right_N[by_confidence[:num_surest]].mean()),
    )


def tempered(confidence: float, temperature: float) -> float:
    """Return the confidence with its log odds divided by ``temperature``; 1 changes nothing.

    The order of confidences stays, and so does the area under the curve.
    """
    if temperature == 1.0:
        return confidence
    return float(_probability(_log_odds(confidence) / temperature))


def fit_temperature(confidences: Sequence[float], is_right: Sequence[bool]) -> float:
    """Find the temperature of confidences (N,) that makes ``is_right`` (N,) most probable.

    This is temperature scaling (Guo et al. 2017, section 4.2) with two classes, right and wrong.
    The loss is convex in the reciprocal, so bisection of its slope finds the only minimum.

    Raises:
        InputError: all words are right or all are wrong, or the minimum is outside 0.01 to 100.
    """
    odds_N = _log_odds(confidences)
    right_N = np.asarray(is_right, dtype=np.bool_)
    if right_N.all() or not right_N.any():
        raise InputError(
            f"{right_N.sum():,} of {len(right_N):,} words are right; a temperature of confidences "
            "needs both right and wrong ones"
        )

    def slope(reciprocal: float) -> float:
        return float(odds_N @ (_probability(reciprocal * odds_N) - right_N))

    low, high = 0.01, 100.0
    if not slope(low) < 0 < slope(high):
        raise InputError(
            f"no temperature from {low:g} to {high:g} fits the confidences of {len(right_N):,} "
            "words; take a larger split"
        )
    for _ in range(_NUM_STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / low


def _log_odds(confidences: ArrayLike) -> np.ndarray:
    inside = np.clip(np.asarray(confidences, dtype=np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _probability(log_odds: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 + 0.5 * np.tanh(log_odds / 2))


def _area(right: np.ndarray, wrong: np.ndarray) -> float:
    """Return the fraction of pairs whose right word has more confidence; equal ones count half."""
    if not len(right) or not len(wrong):
        return float("nan")
    ordered = np.sort(wrong)
    below = np.searchsorted(ordered, right, side="left")
    not_above = np.searchsorted(ordered, right, side="right")
    return float((below + not_above).sum() / 2 / (len(right) * len(wrong)))
