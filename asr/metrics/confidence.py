"""Calibration of word confidences: how well they separate right words from wrong ones.

Shape legend: N words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_NUM_BINS = 15
SHARE = 0.9


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


def _area(right: np.ndarray, wrong: np.ndarray) -> float:
    """Return the fraction of pairs whose right word has more confidence; equal ones count half."""
    if not len(right) or not len(wrong):
        return float("nan")
    ordered = np.sort(wrong)
    below = np.searchsorted(ordered, right, side="left")
    not_above = np.searchsorted(ordered, right, side="right")
    return float((below + not_above).sum() / 2 / (len(right) * len(wrong)))
