from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import InputError
from asr.text.normalize import (
    Case,
    Events,
    Punctuation,
    TranscriptNormalizer,
    _is_plain,
    _without_punctuation,
    count_invisible,
    find_events,
)


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
    assert normalizer("  Hello,  World! It\u2019s 'fine'.") == "hello, world! it's 'fine'."
    assert normalizer("well\u2011known \u2013 5 \u2212 3") == "well-known - 5 - 3"


@pytest.mark.parametrize(
    "apostrophe", "'`\u2018\u2019\u201b\u00b4\u2032\u02bc\u02b9\u02cb\uff07\uff40\u055a\u1ffd"
)
@pytest.mark.parametrize("punctuation", get_args(Punctuation))
def test_apostrophes_that_look_alike_are_one(apostrophe: str, punctuation: Punctuation) -> None:
    normalizer = TranscriptNormalizer(punctuation=punctuation)
    assert normalizer(f"don{apostrophe}t") == "DON'T"


@pytest.mark.parametrize(
    "code",
    [0, 7, 0x1B, 0x7F, 0xAD, 0x200B, 0x200E, 0x200F, 0x202E, 0x2060, 0xFE0F, 0xFEFF, 0xE0041],
)
def test_invisible_characters_are_dropped_and_counted(code: int) -> None:
    text = f"{chr(code)}don{chr(code)}'t st{chr(code)}op"
    for punctuation in get_args(Punctuation):
        assert TranscriptNormalizer(punctuation=punctuation)(text) == "DON'T STOP"
    assert count_invisible(text) == 3
    assert count_invisible("don't stop é") == 0


def test_joiners_stay_in_scripts_that_need_them() -> None:
    normalizer = TranscriptNormalizer(case="keep")
    assert normalizer("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645") == (
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    )
    assert normalizer("\u0645\u200c a\u200db") == "\u0645 ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\uff21\uff22\uff23\uff11", "ABC1"),
        ("\ufb01nd \ufb02y", "FIND FLY"),
        ("\uff76\uff9e", "\u30ac"),
        ("\ufee1", "\u0645"),
        ("m\u00b2 \u00bd", "M\u00b2 \u00bd"),
    ],
)
def test_letters_in_another_shape_are_folded(text: str, expected: str) -> None:
    assert TranscriptNormalizer()(text) == expected


EVENTS = ("[noise]", "<unk>", "{breath}", "(laughs)", "[BACKGROUND NOISE]", "</b>", "\uff3bx\uff3d")


@pytest.mark.parametrize("event", EVENTS)
def test_marks_of_events_are_no_words(event: str) -> None:
    for text in (f"{event} don't stop", f"don't {event} stop", f"don't{event}stop"):
        assert TranscriptNormalizer()(text) == "DON'T STOP"
        assert sum(find_events(text).values()) == 1
    kept = TranscriptNormalizer(case="keep", events="keep")
    assert kept("go [noise] on!") == "go [noise] on"
    assert TranscriptNormalizer(events="words")("go [noise] on") == "GO NOISE ON"


def test_what_is_said_in_parentheses_is_said() -> None:
    assert TranscriptNormalizer()("yes (he said) 3 < 4 and 5 > 2") == "YES HE SAID 3 4 AND 5 2"
    assert not find_events("yes (he said) 3 < 4 and 5 > 2")


def test_keeps_case() -> None:
    assert TranscriptNormalizer(case="keep", punctuation="drop")("Mr. Smith") == "Mr Smith"


@pytest.mark.parametrize("case", get_args(Case))
@pytest.mark.parametrize("punctuation", get_args(Punctuation))
@pytest.mark.parametrize("events", get_args(Events))
@given(text=st.text(max_size=30) | st.text("[](){}<>ab '`\u200d\u0645", max_size=20))
def test_a_second_time_changes_nothing(
    text: str, case: Case, punctuation: Punctuation, events: Events
) -> None:
    normalizer = TranscriptNormalizer(case=case, punctuation=punctuation, events=events)
    once = normalizer(text)
    assert normalizer(once) == once
    assert once == once.strip()
    assert "  " not in once


@given(text=st.text(alphabet="aB7 \t'-._", max_size=12))
def test_plain_text_is_what_the_general_rules_leave_alone(text: str) -> None:
    changed = " ".join(_without_punctuation(text).split()) != " ".join(text.split())
    assert _is_plain(text) != changed


def test_leaves_librispeech_unchanged() -> None:
    text = "HE'S TEN O'CLOCK BUT I DON'T KNOW"
    assert TranscriptNormalizer()(text) == text


def test_name_tells_the_rules() -> None:
    names = {
        TranscriptNormalizer(case=case, punctuation=punctuation, events=events).name
        for case in get_args(Case)
        for punctuation in get_args(Punctuation)
        for events in get_args(Events)
    }
    assert len(names) == 18
    assert "NFC, case: upper, punctuation: drop, events: drop" in names


def test_unknown_rule() -> None:
    with pytest.raises(InputError, match=r"text\.normalize\.case: 'title' .* upper, lower, keep"):
        TranscriptNormalizer(case="title", punctuation="drop")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"text\.normalize\.events: 'x' .* drop, keep, words"):
        TranscriptNormalizer(events="x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"text\.normalize\.punctuation: None .* keep, drop"):
        TranscriptNormalizer(case="upper", punctuation=None)  # type: ignore[arg-type]
