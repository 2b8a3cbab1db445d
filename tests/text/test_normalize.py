from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.text.normalize import (
    Case,
    Punctuation,
    TranscriptNormalizer,
    _is_plain,
    _without_punctuation,
)
from asr.types import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \t\n", ""),
        ("  two\twords\n", "TWO WORDS"),
        ("Hello, world! (He said.)", "HELLO WORLD HE SAID"),
        ("don't", "DON'T"),
        ("don\u2019t", "DON'T"),
        ("O\u2019Clock \u2018quoted\u2019 'quoted' boys'", "O'CLOCK QUOTED QUOTED BOYS"),
        ("well-known\u2014end", "WELL KNOWN END"),
        ("cafe\u0301", "CAFÉ"),
        ("क्'क", "क्'क"),
        ("'", ""),
        ("straße", "STRASSE"),
        ("a\u00a0b\u2581c", "A B C"),
        ("日本語。", "日本語"),
        ("...", ""),
    ],
)
def test_upper_without_punctuation(text: str, expected: str) -> None:
    assert TranscriptNormalizer(case="upper", punctuation="drop")(text) == expected


def test_keeps_punctuation() -> None:
    normalizer = TranscriptNormalizer(case="lower", punctuation="keep")
    assert normalizer("  Hello,  World! It\u2019s 'fine'.") == "hello, world! it\u2019s 'fine'."


def test_keeps_case() -> None:
    assert TranscriptNormalizer(case="keep", punctuation="drop")("Mr. Smith") == "Mr Smith"


@pytest.mark.parametrize("case", get_args(Case))
@pytest.mark.parametrize("punctuation", get_args(Punctuation))
@given(text=st.text(max_size=30))
def test_a_second_time_changes_nothing(text: str, case: Case, punctuation: Punctuation) -> None:
    normalizer = TranscriptNormalizer(case=case, punctuation=punctuation)
    once = normalizer(text)
    assert normalizer(once) == once
    assert once == once.strip()
    assert "  " not in once


@given(text=st.text(alphabet="aB7 \t'-._", max_size=12))
def test_plain_text_is_what_the_general_rules_leave_alone(text: str) -> None:
    changed = " ".join(_without_punctuation(text).split()) != " ".join(text.split())
    assert _is_plain(text) != changed


def test_leaves_librispeech_as_it_is() -> None:
    text = "HE'S TEN O'CLOCK BUT I DON'T KNOW"
    assert TranscriptNormalizer()(text) == text


def test_name_tells_the_rules() -> None:
    names = {
        TranscriptNormalizer(case=case, punctuation=punctuation).name
        for case in get_args(Case)
        for punctuation in get_args(Punctuation)
    }
    assert len(names) == 6
    assert "NFC, case: upper, punctuation: drop" in names


def test_unknown_rule() -> None:
    with pytest.raises(InputError, match=r"text\.normalize\.case: 'title' .* upper, lower, keep"):
        TranscriptNormalizer(case="title", punctuation="drop")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"text\.normalize\.punctuation: None .* keep, drop"):
        TranscriptNormalizer(case="upper", punctuation=None)  # type: ignore[arg-type]
