"""Bootstrap confidence intervals of corpus word error rates, over speakers or utterances.

Shape legend: C counts, U resampled units (speakers or utterances), S resamples.

Units are drawn with replacement, and the rate of each resample is its errors over its words (Bisani
& Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004).
The errors of one speaker or utterance are not independent, so they stay together: speakers are
drawn if every utterance has one and there are two or more, else utterances (Field & Welsh,
"Bootstrapping clustered data", JRSS B 2007). With few units the percentiles are too close together;
they are widened by the ratio of Student's t to the normal distribution (Hesterberg, "What teachers
should know about the bootstrap", 2015, section 4.2.2).

The interval covers the choice of units, not that of the training seed; for that see
`asr.metrics.significance`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.metrics import student
from asr.metrics.wer import WordErrors

_MAX_DRAWS = 2**21  # units drawn at once; limits memory to some tens of MiB


class Units(NamedTuple):
    """The units to draw, "speakers" or "utterances", and the index of each utterance's unit."""

    name: str
    of_utterance: NDArray[np.int64]
    num: int

    def sums(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sum counts (C, utterances) to (C, U)."""
        sums_CU = np.zeros((len(counts), self.num), np.int64)
        for sums_U, row in zip(sums_CU, counts, strict=True):
            np.add.at(sums_U, self.of_utterance, row)
        return sums_CU


def units_of(num_utterances: int, speakers: Sequence[str | None] | None) -> Units:
    """Return speakers if all are known and there are two or more, else utterances."""
    assert speakers is None or len(speakers) == num_utterances
    if speakers is not None and all(speakers) and len(set(speakers)) > 1:
        numbers = {speaker: number for number, speaker in enumerate(dict.fromkeys(speakers))}
        return Units("speakers", np.array([numbers[one] for one in speakers]), len(numbers))
    return Units("utterances", np.arange(num_utterances), num_utterances)


def wer_interval(
    per_utterance: Sequence[WordErrors],
    *,
    speakers: Sequence[str | None] | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the interval (low, high), in percent, of the corpus WER with confidence ``level``.

    ``speakers`` names who speaks each utterance. The order of the utterances does not matter.
    (NaN, NaN) without a reference word.
    """
    units = units_of(len(per_utterance), speakers)
    counts = np.array([(e.errors, e.words) for e in per_utterance], np.int64).reshape(-1, 2).T
    sums_SC = resampled_sums(units.sums(counts), num_samples, seed)
    return _interval(_rates(sums_SC[:, 0], sums_SC[:, 1]), level, units.num)


def paired_difference(
    a: Sequence[WordErrors],
    b: Sequence[WordErrors],
    *,
    speakers: Sequence[str | None] | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Return the WER of ``a`` minus that of ``b``, and its interval: (difference, low, high).

    All three are in percentage points. Both are resampled together, so what is hard for both
    cancels. ``a[i]`` and ``b[i]`` score the same utterance; raises ValueError if their numbers of
    reference words differ.
    """
    if [e.words for e in a] != [e.words for e in b]:
        raise ValueError("paired_difference needs the same utterances in the same order")
    units = units_of(len(a), speakers)
    counts = np.array([(x.errors, y.errors, x.words) for x, y in zip(a, b, strict=True)], np.int64)
    sums_SC = resampled_sums(units.sums(counts.reshape(-1, 3).T), num_samples, seed)
    difference = WordErrors.total(a).wer - WordErrors.total(b).wer
    low, high = _interval(_rates(sums_SC[:, 0] - sums_SC[:, 1], sums_SC[:, 2]), level, units.num)
    return difference, low, high


def expanded_level(level: float, num_units: int) -> float:
    """Return the level at which percentiles of ``num_units`` units cover ``level``."""
    assert 0.0 < level < 1.0, level
    if num_units < 2:
        return level
    z = math.sqrt(num_units / (num_units - 1)) * student.quantile(level, num_units - 1)
    return math.erf(z / math.sqrt(2))


def resampled_sums(counts_CU: NDArray[np.int64], num_samples: int, seed: int) -> NDArray[np.int64]:
    """Return the sums (S, C) of ``counts_CU`` over ``num_samples`` resamples of its units."""
    assert num_samples > 0, num_samples
    num_counts, num_units = counts_CU.shape
    sums_SC = np.zeros((num_samples, num_counts), np.int64)
    if num_units == 0:
        return sums_SC
    counts_CU = counts_CU[:, np.lexsort(counts_CU)]
    generator = np.random.default_rng(seed)
    step = max(1, _MAX_DRAWS // num_units)
    for start in range(0, num_samples, step):
        part = slice(start, min(start + step, num_samples))
        drawn = generator.integers(num_units, size=(part.stop - start, num_units))
        for index, counts_U in enumerate(counts_CU):
            sums_SC[part, index] = counts_U[drawn].sum(axis=1)
    return sums_SC


def _rates(errors_S: NDArray[np.int64], words_S: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the rates, in percent, of the resamples with at least one word."""
    some_S = words_S > 0
    return 100.0 * errors_S[some_S] / words_S[some_S]


def _interval(rates_S: NDArray[np.float64], level: float, num_units: int) -> tuple[float, float]:
    level = expanded_level(level, num_units)
    if len(rates_S) == 0:
        return math.nan, math.nan
    low, high = np.quantile(rates_S, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
