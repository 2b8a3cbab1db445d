import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.metrics.bootstrap import expanded_level, paired_difference, wer_interval
from asr.metrics.wer import WordErrors

utterances = st.builds(
    WordErrors, st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.integers(1, 12)
)
corpora = st.lists(utterances, min_size=1, max_size=40)
few_examples = settings(max_examples=40, deadline=None)


def _corpus(num_utterances: int, rate: float, words: int = 10, seed: int = 0) -> list[WordErrors]:
    errors = np.random.default_rng(seed).binomial(words, rate, num_utterances)
    return [WordErrors(sub=int(count), words=words) for count in errors]


@few_examples
@given(corpora)
def test_interval_contains_the_rate(corpus: list[WordErrors]) -> None:
    low, high = wer_interval(corpus, num_samples=500)
    assert low <= WordErrors.total(corpus).wer <= high


@few_examples
@given(corpora, st.integers(0, 99))
def test_order_of_utterances_does_not_matter(corpus: list[WordErrors], seed: int) -> None:
    shuffled = random.Random(seed).sample(corpus, len(corpus))
    assert wer_interval(shuffled, num_samples=50) == wer_interval(corpus, num_samples=50)


@few_examples
@given(corpora)
def test_higher_level_is_wider(corpus: list[WordErrors]) -> None:
    low, high = wer_interval(corpus, num_samples=100, level=0.8)
    wide_low, wide_high = wer_interval(corpus, num_samples=100, level=0.99)
    assert wide_low <= low <= high <= wide_high


def test_width_is_that_of_the_normal_approximation() -> None:
    """For utterances of equal length the rate is a mean, whose standard error is known."""
    corpus = _corpus(800, 0.1)
    rates = np.array([e.wer for e in corpus])
    low, high = wer_interval(corpus, num_samples=4000)
    expected = 2 * 1.96 * rates.std() / math.sqrt(len(rates))
    assert high - low == pytest.approx(expected, rel=0.08)


def test_interval_covers_the_true_rate_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        low, high = wer_interval(_corpus(60, 0.1, seed=seed), num_samples=300, seed=seed)
        hits += low <= 10.0 <= high
    assert 178 <= hits <= 199  # 190 expected at 95 %


def test_same_seed_same_interval_and_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = _corpus(50, 0.2)
    whole = wer_interval(corpus, seed=3)
    assert wer_interval(corpus, seed=3) == whole
    assert wer_interval(corpus, seed=4) != whole
    monkeypatch.setattr("asr.metrics.bootstrap._MAX_DRAWS", 50 * 7)
    assert wer_interval(corpus, seed=3) == whole


def test_one_utterance_gives_a_point() -> None:
    assert wer_interval([WordErrors(sub=1, words=3)]) == pytest.approx((100 / 3, 100 / 3))


def test_no_words_give_nan() -> None:
    assert all(math.isnan(bound) for bound in wer_interval([]))
    assert all(math.isnan(bound) for bound in wer_interval([WordErrors(ins=2)]))


def test_paired_difference_of_equal_systems_is_nothing() -> None:
    corpus = _corpus(30, 0.2)
    assert paired_difference(corpus, corpus) == (0.0, 0.0, 0.0)


def test_paired_difference_has_the_sign_of_a_minus_b() -> None:
    worse, better = _corpus(300, 0.3), _corpus(300, 0.1, seed=1)
    difference, low, high = paired_difference(worse, better)
    expected = WordErrors.total(worse).wer - WordErrors.total(better).wer
    assert difference == pytest.approx(expected)
    assert 0 < low < difference < high
    assert paired_difference(better, worse)[0] == pytest.approx(-expected)


def test_pairing_cancels_what_is_hard_for_both() -> None:
    base = _corpus(300, 0.3)
    other = [WordErrors(sub=max(0, e.sub - (i % 10 == 0)), words=10) for i, e in enumerate(base)]
    _, low, high = paired_difference(base, other)
    single_low, single_high = wer_interval(base)
    assert low > 0
    assert high - low < (single_high - single_low) / 3


def test_unlike_utterances_are_refused() -> None:
    with pytest.raises(ValueError, match="same utterances"):
        paired_difference([WordErrors(words=3)], [WordErrors(words=4)])
    with pytest.raises(ValueError, match="same utterances"):
        paired_difference([WordErrors(words=3)], [])


def _by_speaker(num_speakers: int, seed: int) -> tuple[list[WordErrors], list[str]]:
    """Ten utterances each of speakers whose rates lie around 20 %."""
    rng = np.random.default_rng(seed)
    rates = np.clip(rng.normal(0.2, 0.06, num_speakers), 0.01, 0.9)
    errors = rng.binomial(20, np.repeat(rates, 10))
    corpus = [WordErrors(sub=int(count), words=20) for count in errors]
    return corpus, [f"speaker{number}" for number in range(num_speakers) for _ in range(10)]


def test_speakers_are_drawn_whole() -> None:
    """Their errors are not independent: by utterance the interval is far too narrow."""
    hits = hits_by_utterance = 0
    for seed in range(150):
        corpus, speakers = _by_speaker(10, seed)
        low, high = wer_interval(corpus, speakers=speakers, num_samples=300, seed=seed)
        hits += low <= 20.0 <= high
        low, high = wer_interval(corpus, num_samples=300, seed=seed)
        hits_by_utterance += low <= 20.0 <= high
    assert 136 <= hits <= 150  # 142 expected at 95 %
    assert hits_by_utterance < 110


def test_without_two_known_speakers_utterances_are_drawn() -> None:
    corpus, speakers = _by_speaker(4, 0)
    by_utterance = wer_interval(corpus)
    assert wer_interval(corpus, speakers=["one"] * 40) == by_utterance
    assert wer_interval(corpus, speakers=[None, *speakers[1:]]) == by_utterance
    assert wer_interval(corpus, speakers=speakers) != by_utterance


def test_percentiles_of_few_units_are_moved_apart() -> None:
    assert expanded_level(0.95, 10_000) == pytest.approx(0.95, abs=1e-3)
    assert expanded_level(0.95, 10) == pytest.approx(0.9829, abs=1e-3)  # z = 2.262 sqrt(10 / 9)
