from __future__ import annotations

from asr.decode.formats import ctm
from asr.decode.greedy import TimedWord


def test_a_line_a_word() -> None:
    words = [TimedWord("good", 0.08, 0.2), TimedWord("day", 1.0, 1.04, 0.75)]
    assert ctm("a talk.wav", words) == (
        "a_talk.wav 1 0.080 0.120 good\na_talk.wav 1 1.000 0.040 day 0.7500\n"
    )


def test_nothing_said() -> None:
    assert ctm("a", []) == ""
