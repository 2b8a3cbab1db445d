"""Significance of a difference in WER between two schedules, over training seeds and test speakers.

Shape legend: N runs (those of both schedules), S resamples.

A rate varies with the training seed and with the speakers of the test set. Resampling only the test
data treats the trained models as fixed, and says nothing about the next training. Here both are
random, like readers and cases in diagnostic studies, where the method comes from (Obuchowski &
Rockette 1995; Hillis, "A marginal-mean ANOVA approach for analyzing multireader multicase
radiological imaging data", Statistics in Medicine 2014, for readers nested in the treatment): runs
are the readers, speakers (or utterances) the cases.

The difference is that of the schedules' mean rates over seeds. Its variance is

    V = s_a^2 / n_a + s_b^2 / n_b + max(0, C_aa + C_bb - 2 C_ab)

where s^2 is the variance over the n seeds of a schedule. C is the mean covariance, over bootstrap
resamples of the speakers, of the rates of two runs, both of one schedule or one of each. The
variation of a single run is already in s^2; the covariances add the effect of the choice of
speakers that all runs of a schedule share. Runs of two schedules with the same seed are not paired:
their parameters differ, so their initial values and batches differ too. Three seeds can agree by
chance, so s^2 is at least the value that the choice of speakers alone gives for independent runs
(variance less covariance of one schedule's rates). The degrees of freedom are Satterthwaite's, from
n - 1 for each schedule's seeds and the number of speakers less 1; interval and p are Student's.
With three seeds a side there are between two and four degrees, so only a large difference can be
distinguished from chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.metrics import student
from asr.metrics.bootstrap import paired_difference, resampled_sums, units_of
from asr.metrics.wer import WordErrors


class Difference(NamedTuple):
    """A difference in points of WER, with its interval and the two-sided p of no difference.

    ``p`` is None if a schedule has one seed; then the interval covers only the choice of speakers.
    ``unit`` is the resampled unit, "speakers" or "utterances", ``num_units`` their number.
    """

    difference: float
    low: float
    high: float
    p: float | None
    unit: str
    num_units: int


def seed_difference(
    a: Sequence[Sequence[WordErrors]],
    b: Sequence[Sequence[WordErrors]],
    *,
    speakers: Sequence[str | None] | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Return the mean WER of the runs ``a`` minus that of the runs ``b``.

    Each run is a sequence of the errors of the same utterances in the same order, spoken by
    ``speakers``. Raises ValueError if the numbers of reference words differ.
    """
    runs = [*a, *b]
    words = [e.words for e in runs[0]]
    if any([e.words for e in run] != words for run in runs):
        raise ValueError("seed_difference needs the same utterances in the same order")
    units = units_of(len(words), speakers)
    if min(len(a), len(b)) < 2 or sum(words) == 0 or units.num < 2:
        found = paired_difference(
            _total(a, len(b)), _total(b, len(a)),
            speakers=speakers, num_samples=num_samples, seed=seed, level=level,
        )  # fmt: skip
        return Difference(*found, None, units.name, units.num)
    counts = np.array([[e.errors for e in run] for run in runs] + [words], np.int64)
    counts_CU = units.sums(counts)
    rates_N = 100 * counts_CU[:-1].sum(1) / counts_CU[-1].sum()
    sums_SC = resampled_sums(counts_CU, num_samples, seed)
    sums_SC = sums_SC[sums_SC[:, -1] > 0]
    rates_SN = 100 * sums_SC[:, :-1] / sums_SC[:, -1:]
    covariance_NN = np.cov(rates_SN, rowvar=False) * units.num / (units.num - 1)
    difference = float(rates_N[: len(a)].mean() - rates_N[len(a) :].mean())
    variance, freedom = _variance(rates_N, covariance_NN, len(a), units.num)
    if variance == 0.0:  # no utterance differs within or between the schedules
        return Difference(difference, difference, difference, 1.0, units.name, units.num)
    error = math.sqrt(variance)
    half = student.quantile(level, freedom) * error
    p = student.two_sided_p(difference / error, freedom)
    return Difference(
        difference, difference - half, difference + half, p, units.name, units.num
    )  # fmt: skip


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct the ``p_values`` of one table for multiple testing (Holm 1979); None stays None.

    If values of at most 0.05 are called findings, a table without any true difference has a finding
    with a probability of 5 % at most.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for num_smaller, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - num_smaller) * p))
        corrected[place] = largest
    return corrected


def _variance(
    rates_N: NDArray[np.float64], covariance_NN: NDArray[np.float64], num_a: int, num_units: int
) -> tuple[float, float]:
    """Return V and its degrees of freedom."""
    of_a, of_b = slice(0, num_a), slice(num_a, None)
    shared = -2 * float(covariance_NN[of_a, of_b].mean())
    terms = []  # variance and degrees of freedom
    for runs in (of_a, of_b):
        block = covariance_NN[runs, runs]
        num = len(block)
        own, total = float(np.trace(block)), float(block.sum())
        together = (total - own) / (num * (num - 1))
        of_seeds = max(float(rates_N[runs].var(ddof=1)), own / num - together)
        terms.append((of_seeds / num, num - 1))
        shared += together
    terms.append((max(0.0, shared), num_units - 1))
    variance = sum(term for term, _ in terms)
    spread = sum(term**2 / freedom for term, freedom in terms)
    return variance, variance**2 / spread if spread else 1.0


def _total(runs: Sequence[Sequence[WordErrors]], times: int) -> list[WordErrors]:
    """Return the errors of each utterance over all runs, with each run counted ``times``."""
    repeated = [run for run in runs for _ in range(times)]
    return [WordErrors.total(errors) for errors in zip(*repeated, strict=True)]
