"""Differences between schedules with known truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from asr.metrics.bootstrap import paired_difference
from asr.metrics.significance import holm, seed_difference
from asr.metrics.wer import WordErrors

WORDS = 60
Run = list[WordErrors]


def simulated(
    rng: np.random.Generator,
    num_seeds: Sequence[int],
    *,
    truth: float = 0.0,
    num_speakers: int = 12,
    per_speaker: int = 4,
    seed_sd: float = 1.0,
    speaker_sd: float = 6.0,
) -> tuple[list[Run], list[Run], list[str]]:
    """Runs of two schedules on the same speakers, the first ``truth`` points worse.

    A rate is 20 % plus what the speaker adds for everyone, what the seed adds for all speakers, and
    chance.
    """
    hard = rng.normal(0, speaker_sd, num_speakers)
    sides = []
    for num, offset in zip(num_seeds, (truth, 0.0), strict=True):
        runs = []
        for _ in range(num):
            rates = np.clip(20 + offset + rng.normal(0, seed_sd) + hard, 0.5, 95) / 100
            errors = rng.binomial(WORDS, np.repeat(rates, per_speaker))
            runs.append([WordErrors(sub=int(n), words=WORDS) for n in errors])
        sides.append(runs)
    speakers = [f"s{number}" for number in range(num_speakers) for _ in range(per_speaker)]
    return sides[0], sides[1], speakers


@pytest.mark.parametrize("num_seeds", [(3, 3), (5, 3)])
def test_intervals_hold_the_truth_as_often_as_they_say(num_seeds: tuple[int, int]) -> None:
    """And those of utterances alone, seeds taken as given, do not: they were the claim before."""
    rng = np.random.default_rng(1)
    held = held_by_utterance = false_findings = 0
    for _ in range(100):
        a, b, speakers = simulated(rng, num_seeds, truth=2.0, seed_sd=1.5)
        found = seed_difference(a, b, speakers=speakers, num_samples=100)
        held += found.low <= 2.0 <= found.high
        sums = [[WordErrors.total(e) for e in zip(*runs[:3], strict=True)] for runs in (a, b)]
        _, low, high = paired_difference(*sums, num_samples=100)
        held_by_utterance += low <= 2.0 <= high
        a, b, speakers = simulated(rng, num_seeds, seed_sd=1.5)
        p = seed_difference(a, b, speakers=speakers, num_samples=100).p
        false_findings += p is not None and p <= 0.05
    assert held >= 92  # 95 expected
    assert false_findings <= 9
    assert held_by_utterance < 85


def test_a_difference_beyond_the_seeds_is_found() -> None:
    a, b, speakers = simulated(np.random.default_rng(2), (3, 3), truth=10.0)
    found = seed_difference(a, b, speakers=speakers)
    assert found.p is not None
    assert found.p < 0.02
    assert found.low > 0
    assert found.difference == pytest.approx(10.0, abs=2.5)
    assert (found.unit, found.num_units) == ("speakers", 12)
    turned = seed_difference(b, a, speakers=speakers)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), rel=0.03)


def test_seeds_that_vary_hide_what_utterances_alone_would_claim() -> None:
    """One seed far worse than the others: the mean differs, the schedule cannot be said to."""
    low = [WordErrors(sub=6, words=WORDS)] * 40
    high = [WordErrors(sub=9, words=WORDS)] * 40
    found = seed_difference([high, low, low], [low, low, low])
    assert found.difference == pytest.approx(5 / 3)
    assert found.p is not None
    assert found.p > 0.3
    assert found.low < 0 < found.high


def test_what_is_hard_for_all_runs_cancels() -> None:
    """Only the difference between schedules counts, however unlike the speakers are."""
    widths = []
    for speaker_sd in (0.0, 9.0):
        a, b, speakers = simulated(np.random.default_rng(3), (3, 3), speaker_sd=speaker_sd)
        found = seed_difference(a, b, speakers=speakers)
        widths.append(found.high - found.low)
    assert widths[1] < 2 * widths[0]


def test_seeds_that_agree_by_luck_are_no_proof() -> None:
    """Equal totals of two seeds that err on different utterances."""
    rng = np.random.default_rng(4)
    base = np.array([3] * 20 + [9] * 20)
    a, b = ([[WordErrors(sub=int(n), words=WORDS) for n in rng.permutation(base)]
             for _ in range(2)] for _ in range(2))  # fmt: skip
    b[0][0] = b[1][0] = WordErrors(sub=12, words=WORDS)
    found = seed_difference(a, b)
    assert found.p is not None
    assert found.p > 0.1


def test_one_seed_has_no_p() -> None:
    a, b, speakers = simulated(np.random.default_rng(5), (1, 3), truth=5.0)
    found = seed_difference(a, b, speakers=speakers)
    assert found.p is None
    assert found.low < found.difference < found.high
    mean = np.mean([WordErrors.total(run).wer for run in b])
    assert found.difference == pytest.approx(WordErrors.total(a[0]).wer - mean)


def test_equal_runs_do_not_differ() -> None:
    run = [WordErrors(sub=n % 3, words=WORDS) for n in range(10)]
    assert seed_difference([run, run], [run, run])[:4] == (0.0, 0.0, 0.0, 1.0)


def test_unlike_utterances_are_refused() -> None:
    run = [WordErrors(words=4)] * 3
    with pytest.raises(ValueError, match="same utterances"):
        seed_difference([run, run], [run, run[:2]])


def test_holm_multiplies_the_smallest_by_all() -> None:
    assert holm([0.04, None, 0.01, 0.03]) == pytest.approx([0.06, None, 0.03, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
