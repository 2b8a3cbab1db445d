from __future__ import annotations

import re

import pytest

from asr.decode.formats import CueLimits, clock, cues, srt, vtt
from asr.decode.greedy import TimedWord


def spoken(text: str, *, start_s: float = 0.0, word_s: float = 0.3) -> list[TimedWord]:
    """The words of ``text`` one after the other without a pause."""
    return [
        TimedWord(word, start_s + index * word_s, start_s + (index + 1) * word_s)
        for index, word in enumerate(text.split())
    ]


def test_srt_of_two_sentences() -> None:
    words = [*spoken("good morning to you all"), *spoken("it rains", start_s=3.5)]
    assert srt([words]) == (
        "1\n00:00:00,000 --> 00:00:01,500\ngood morning to you all\n\n"
        "2\n00:00:03,500 --> 00:00:04,500\nit rains\n\n"
    )


def test_vtt_of_the_same() -> None:
    words = [*spoken("good morning to you all"), *spoken("it rains", start_s=3.5)]
    assert vtt([words]) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\ngood morning to you all\n\n"
        "00:00:03.500 --> 00:00:04.500\nit rains\n\n"
    )


def test_nothing_said() -> None:
    assert srt([[]]) == ""
    assert vtt([[]]) == "WEBVTT\n\n"


@pytest.mark.parametrize("word_s", [0.05, 0.3, 1.5])
@pytest.mark.parametrize("limits", [CueLimits(), CueLimits(20, 3, 3.0), CueLimits(80, 1, 20.0)])
def test_no_cue_is_too_long_or_overlaps_the_next(word_s: float, limits: CueLimits) -> None:
    words = spoken("the quick brown fox jumps over the lazy dog " * 12, word_s=word_s)
    found = cues(words, limits)
    assert " ".join(line for cue in found for line in cue.lines).split() == [
        word.word for word in words
    ]
    for cue, following in zip(found, [*found[1:], None], strict=True):
        assert len(cue.lines) <= limits.num_lines
        assert all(len(line) <= limits.line_width for line in cue.lines)
        assert 0 < cue.end_s - cue.start_s <= limits.duration_s + 1e-9
        assert following is None or cue.end_s <= following.start_s + 1e-9


def test_a_pause_ends_a_cue() -> None:
    close = [*spoken("a b"), *spoken("c", start_s=1.5)]
    far = [*spoken("a b"), *spoken("c", start_s=1.7)]
    assert [cue.lines for cue in cues(close)] == [("a b c",)]
    assert [cue.lines for cue in cues(far)] == [("a b",), ("c",)]


def test_a_short_cue_stays_until_the_next_one_at_most() -> None:
    full = [TimedWord("x" * 42, 0.0, 0.04), TimedWord("y" * 42, 0.04, 0.08)]
    assert [cue.end_s for cue in cues([*full, TimedWord("no", 0.5, 0.6)])] == [0.5, 1.5]


def test_a_word_longer_than_a_line_is_not_broken() -> None:
    assert [cue.lines for cue in cues(spoken("x" * 60))] == [("x" * 60,)]


def test_ideographs_take_two_columns_and_no_spaces() -> None:
    words = [TimedWord(one, index * 0.2, (index + 1) * 0.2) for index, one in enumerate("一" * 100)]
    found = cues(words)
    assert "".join(line for cue in found for line in cue.lines) == "一" * 100
    for cue in found:
        assert len(cue.lines) <= 2
        assert all(len(line) <= 21 for line in cue.lines)
        assert cue.end_s - cue.start_s <= 7 + 1e-9
    assert found[0].lines == ("一" * 21, "一" * 14)


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [(0, "00:00:00.000"), (59.9996, "00:01:00.000"), (3723.4561, "01:02:03.456")],
)
def test_clock(time_s: float, expected: str) -> None:
    assert clock(time_s, ".") == expected
    assert re.fullmatch(r"\d\d:\d\d:\d\d,\d\d\d", clock(time_s, ","))
