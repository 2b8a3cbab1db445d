import math
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import InputError
from asr.metrics.wer import WordErrors, align_chars, align_words, corpus_cer, corpus_wer
from asr.types import UtteranceResult

sentences = st.lists(st.sampled_from(["a", "b", "cc", "d'e"]), max_size=7).map(" ".join)


def _result(ref: str | None, hyp: str) -> UtteranceResult:
    return UtteranceResult(utterance_id="u1", hyp=hyp, duration_s=1.0, ref=ref)


def _fewest_errors(ref: list[str], hyp: list[str]) -> int:
    """The textbook edit distance, cell by cell."""
    cost = {(i, j): i + j for i, j in product(range(len(ref) + 1), range(len(hyp) + 1))}
    for i, j in product(range(1, len(ref) + 1), range(1, len(hyp) + 1)):
        cost[i, j] = min(
            cost[i - 1, j] + 1,
            cost[i, j - 1] + 1,
            cost[i - 1, j - 1] + (ref[i - 1] != hyp[j - 1]),
        )
    return cost[len(ref), len(hyp)]


def test_counts_and_alignment_of_a_known_pair() -> None:
    errors, alignment = align_words(
        "the cat sat on red mats there", "a cat sat red mats there today"
    )
    assert errors == WordErrors(sub=1, del_=1, ins=1, words=7)
    assert errors.wer == pytest.approx(300 / 7)
    assert alignment == [
        {"op": "sub", "ref": "the", "hyp": "a"},
        {"op": "equal", "ref": "cat", "hyp": "cat"},
        {"op": "equal", "ref": "sat", "hyp": "sat"},
        {"op": "del", "ref": "on", "hyp": None},
        {"op": "equal", "ref": "red", "hyp": "red"},
        {"op": "equal", "ref": "mats", "hyp": "mats"},
        {"op": "equal", "ref": "there", "hyp": "there"},
        {"op": "ins", "ref": None, "hyp": "today"},
    ]


def test_empty_reference_is_all_insertions_and_has_no_rate() -> None:
    errors, alignment = align_words("", "two words")
    assert errors == WordErrors(ins=2)
    assert math.isnan(errors.wer)
    assert [step["op"] for step in alignment] == ["ins", "ins"]


def test_insertions_against_empty_references_count_in_the_corpus() -> None:
    total = corpus_wer([_result("", "noise"), _result("a b c d", "a b c d")])
    assert total == WordErrors(ins=1, words=4)
    assert total.wer == 25.0


def test_empty_hypothesis_is_all_deletions() -> None:
    assert align_words("a b c", "")[0] == WordErrors(del_=3, words=3)


def test_rate_can_exceed_one_hundred_percent() -> None:
    assert align_words("a", "b c d")[0].wer == 300.0


def test_runs_of_white_space_do_not_matter() -> None:
    assert align_words(" a\t b\nc ", "a b c")[0] == WordErrors(words=3)


def test_case_matters() -> None:
    assert align_words("Hello", "hello")[0].sub == 1


def test_corpus_rate_is_not_the_mean_of_rates() -> None:
    results = [_result("a", "b"), _result("a b c d e f g h i", "a b c d e f g h i")]
    assert corpus_wer(results).wer == 10.0


def test_characters_count_the_space_between_words() -> None:
    errors, alignment = align_chars("ab c", "abc")
    assert errors == WordErrors(del_=1, words=4)
    assert alignment[2] == {"op": "del", "ref": " ", "hyp": None}
    assert corpus_cer([_result("ab c", "abc"), _result("abcd", "abcd")]).wer == 12.5


def test_missing_reference_is_named() -> None:
    with pytest.raises(InputError, match="'u1' has no reference transcript"):
        corpus_wer([_result(None, "a")])


def test_total_of_nothing_is_zero() -> None:
    assert WordErrors.total([]) == WordErrors(0, 0, 0, 0)


@settings(deadline=None)
@given(st.lists(st.tuples(sentences, sentences), max_size=6))
def test_corpus_errors_equal_brute_force(pairs: list[tuple[str, str]]) -> None:
    total = corpus_wer([_result(ref, hyp) for ref, hyp in pairs])
    assert total.errors == sum(_fewest_errors(ref.split(), hyp.split()) for ref, hyp in pairs)
    assert total.words == sum(len(ref.split()) for ref, _ in pairs)


@settings(deadline=None)
@given(sentences, sentences)
def test_alignment_spells_both_texts_and_holds_the_counts(ref: str, hyp: str) -> None:
    errors, alignment = align_words(ref, hyp)
    assert [step["ref"] for step in alignment if step["ref"] is not None] == ref.split()
    assert [step["hyp"] for step in alignment if step["hyp"] is not None] == hyp.split()
    ops = [step["op"] for step in alignment]
    assert (ops.count("sub"), ops.count("del"), ops.count("ins")) == (
        errors.sub,
        errors.del_,
        errors.ins,
    )
    for step in alignment:
        assert (step["ref"] == step["hyp"]) == (step["op"] == "equal")


@settings(deadline=None)
@given(st.lists(st.tuples(sentences, sentences), max_size=6), st.randoms())
def test_order_of_utterances_does_not_matter(pairs: list[tuple[str, str]], random: Random) -> None:
    results = [_result(ref, hyp) for ref, hyp in pairs]
    shuffled = random.sample(results, len(results))
    assert corpus_wer(shuffled) == corpus_wer(results)


def test_characters_are_counted_where_words_have_no_spaces() -> None:
    errors, alignment = align_words("今天 天气好", "今天天汽")
    assert (errors.sub, errors.del_, errors.ins, errors.words) == (1, 1, 0, 5)
    assert [step["ref"] for step in alignment] == list("今天天气好")
    assert align_chars("今天 天气好", "今天天汽")[0] == errors
    assert align_words("", "今天")[0].ins == 2
    assert align_words("good day", "good 中")[0].words == 2
