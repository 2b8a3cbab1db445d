from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decode.greedy import TimedWord, join_words, timed_words
from asr.text.tokenizer import Tokenizer

TEXTS = ["SEVEN EIGHT NINE", "A NINE", "IT'S EIGHT"]


def words(
    pieces: list[str], frames: list[int], duration_s: float = 100.0, *, held: int = 1
) -> list[TimedWord]:
    """Each piece is repeated for ``held`` frames."""
    return timed_words(pieces, frames, [one + held for one in frames], 0.04, duration_s)


def test_a_word_sounds_on_behind_its_last_frame() -> None:
    assert words(["▁SE", "VEN", "▁", "A", "B"], [2, 5, 9, 11, 12]) == [
        TimedWord("SEVEN", 0.08, 0.28),
        TimedWord("AB", 0.36, 0.56),
    ]
    assert words(["▁A"], [2], held=5) == [TimedWord("A", 0.08, 0.32)]


def test_no_word_ends_behind_the_start_of_the_next() -> None:
    assert words(["▁A", "▁B"], [2, 3]) == [TimedWord("A", 0.08, 0.12), TimedWord("B", 0.12, 0.2)]
    assert words(["▁A", "▁B"], [2, 9])[0] == TimedWord("A", 0.08, 0.16)


def test_the_first_piece_begins_a_word_in_any_case() -> None:
    assert words(["VEN"], [0]) == [TimedWord("VEN", 0.0, 0.08)]


def test_a_word_without_letters_is_none() -> None:
    assert words(["▁", "▁A", "▁"], [0, 1, 2]) == [TimedWord("A", 0.04, 0.12)]
    assert words([], []) == []


def test_tokens_of_scripts_without_spaces_have_times_of_their_own() -> None:
    assert words(["▁今天", "天气", "。", "GO", "OD", "好"], [1, 3, 4, 6, 7, 9]) == [
        TimedWord("今天", 0.04, 0.12),
        TimedWord("天气。", 0.12, 0.24),
        TimedWord("GOOD", 0.24, 0.36),
        TimedWord("好", 0.36, 0.44),
    ]
    thai = words(["ส", "\u0e27", "\u0e31", "ส"], [0, 1, 2, 3])
    assert [word.word for word in thai] == ["ส", "\u0e27\u0e31", "ส"]


def test_words_are_joined_as_their_script_has_it() -> None:
    assert join_words(["今天", "天气", "GOOD", "DAY", "好"]) == "今天天气 GOOD DAY 好"
    assert join_words([]) == ""


def test_no_word_ends_behind_the_audio() -> None:
    assert words(["▁A", "▁B"], [0, 3], duration_s=0.13) == [
        TimedWord("A", 0.0, 0.08),
        TimedWord("B", 0.12, 0.13),
    ]


@pytest.mark.parametrize("kind", ["char", "bpe", "unigram", "word"])
@given(data=st.data())
def test_the_words_are_those_of_the_text_and_in_order(kind: str, data: st.DataObject) -> None:
    tokenizer = tokenizer_of(kind)
    ids = data.draw(st.lists(st.integers(1, tokenizer.vocab_size - 1), max_size=20))
    frames = sorted(data.draw(st.sets(st.integers(0, 50), min_size=len(ids), max_size=len(ids))))
    found = words(tokenizer.surfaces(ids), frames, duration_s=51 * 0.04)
    assert [word.word for word in found] == tokenizer.decode(ids).split()
    bounds_s = [bound for word in found for bound in (word.start_s, word.end_s)]
    assert bounds_s == sorted(bounds_s)
    assert all(word.start_s < word.end_s for word in found)
    assert all(0 <= bound <= 51 * 0.04 for bound in bounds_s)


def tokenizer_of(kind: str) -> Tokenizer:
    assert kind in ("char", "bpe", "unigram", "word")
    if kind not in _TOKENIZERS:
        _TOKENIZERS[kind] = Tokenizer.train(TEXTS, kind=kind, vocab_size=20)  # type: ignore[arg-type]
    return _TOKENIZERS[kind]


_TOKENIZERS: dict[str, Tokenizer] = {}
