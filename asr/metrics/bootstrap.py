"""Percentile bootstrap over utterances for corpus word error rates.

Shape legend: C counts, U utterances, S resamples.

Utterances are drawn with replacement and the rate of each resample is its errors over its words
(Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP
2004). Words of one utterance stay together because their errors are not independent. The interval
covers the choice of utterances, not that of the training seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.metrics.wer import WordErrors

_MAX_DRAWS = 2**21  # utterances drawn at once, so that memory stays at some tens of MiB


def wer_interval(
    per_utterance: Sequence[WordErrors],
    *,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval (low, high), in percent, that holds the corpus WER with confidence ``level``.

    The order of the utterances does not matter. (NaN, NaN) without a reference word.
    """
    counts_CU = np.array([(e.errors, e.words) for e in per_utterance], np.int64).reshape(-1, 2).T
    sums_SC = _resampled_sums(counts_CU, num_samples, seed)
    return _interval(_rates(sums_SC[:, 0], sums_SC[:, 1]), level)


def paired_difference(
    a: Sequence[WordErrors],
    b: Sequence[WordErrors],
    *,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """WER of ``a`` minus WER of ``b`` with its interval: (difference, low, high) in points.

    Both are drawn together, so what is hard for both cancels. ``a[i]`` and ``b[i]`` score the same
    utterance; raises ValueError when their numbers of reference words say otherwise.
    """
    if [e.words for e in a] != [e.words for e in b]:
        raise ValueError("paired_difference needs the same utterances in the same order")
    counts_CU = np.array(
        [(x.errors, y.errors, x.words) for x, y in zip(a, b, strict=True)], np.int64
    )
    sums_SC = _resampled_sums(counts_CU.reshape(-1, 3).T, num_samples, seed)
    difference = WordErrors.total(a).wer - WordErrors.total(b).wer
    low, high = _interval(_rates(sums_SC[:, 0] - sums_SC[:, 1], sums_SC[:, 2]), level)
    return difference, low, high


def _resampled_sums(counts_CU: NDArray[np.int64], num_samples: int, seed: int) -> NDArray[np.int64]:
    """Sums (S, C) of ``counts_CU`` over ``num_samples`` resamples of its utterances."""
    assert num_samples > 0, num_samples
    num_counts, num_utterances = counts_CU.shape
    sums_SC = np.zeros((num_samples, num_counts), np.int64)
    if num_utterances == 0:
        return sums_SC
    counts_CU = counts_CU[:, np.lexsort(counts_CU)]
    generator = np.random.default_rng(seed)
    step = max(1, _MAX_DRAWS // num_utterances)
    for start in range(0, num_samples, step):
        part = slice(start, min(start + step, num_samples))
        drawn = generator.integers(num_utterances, size=(part.stop - start, num_utterances))
        for index, counts_U in enumerate(counts_CU):
            sums_SC[part, index] = counts_U[drawn].sum(axis=1)
    return sums_SC


def _rates(errors_S: NDArray[np.int64], words_S: NDArray[np.int64]) -> NDArray[np.float64]:
    """Percentages of the resamples that hold a word at all."""
    some_S = words_S > 0
    return 100.0 * errors_S[some_S] / words_S[some_S]


def _interval(rates_S: NDArray[np.float64], level: float) -> tuple[float, float]:
    assert 0.0 < level < 1.0, level
    if len(rates_S) == 0:
        return math.nan, math.nan
    low, high = np.quantile(rates_S, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
