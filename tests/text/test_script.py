from __future__ import annotations

import pytest

from asr.text.script import counted_in, is_unspaced, width


@pytest.mark.parametrize(
    "text", ["今天天气", "カタカナ", "สวัสดี", "ភាសា", "မြန်မာ", "我们用GO", "。"]
)
def test_scripts_without_spaces(text: str) -> None:
    assert is_unspaced(text)


@pytest.mark.parametrize("text", ["", "good day", "Müller", "한국어 문장", "Привет", "a word 中"])
def test_scripts_with_spaces(text: str) -> None:
    assert not is_unspaced(text)


def test_most_of_the_letters_decide() -> None:
    assert counted_in(["今天天气", "OK"]) == "characters"
    assert counted_in(["good day", "中"]) == "words"
    assert counted_in([]) == "words"


def test_widths() -> None:
    assert [width(text) for text in ("abc", "今天", "e\u0301", "a中", "ｱ")] == [3, 4, 1, 3, 1]
