from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decode.formats import FORMATS, CueLimits
from asr.decode.greedy import TimedWord
from asr.decode.speakers import NEAR_S, Turn, read_rttm, turns_of, with_speakers
from asr.decode.transcript import Transcript
from asr.errors import InputError

RTTM = """\
;; a comment
SPKR-INFO talk 1 <NA> <NA> <NA> unknown anna <NA> <NA>
SPEAKER talk 1 2.00 1.50 <NA> <NA> ben <NA> <NA>
SPEAKER talk 1 0.00 2.10 <NA> <NA> anna <NA> <NA>
SPEAKER other_talk 1 0 9 <NA> <NA> carl
"""
WORDS = (
    TimedWord("good", 0.2, 0.5),
    TimedWord("day", 0.6, 0.9, 0.5),
    TimedWord("yes", 2.05, 2.4),
    TimedWord("so", 3.6, 3.9),
    TimedWord("far", 7.0, 7.2),
)
TALK = Transcript("a/talk.wav", 8.0, "good day yes so far", WORDS)


def spoken(tmp_path: Path) -> Transcript:
    path = tmp_path / "turns.rttm"
    path.write_text(RTTM)
    return with_speakers(TALK, turns_of(read_rttm(path), Path(TALK.audio_path)))


def written(transcript: Transcript, name: str) -> str:
    return FORMATS[name].write((transcript,), CueLimits())


def test_words_have_the_speaker_with_most_of_them_or_the_nearest(tmp_path: Path) -> None:
    found = spoken(tmp_path)
    assert [one.speaker for one in found.words] == ["anna", "anna", "ben", "ben", None]
    assert [(one.speaker, one.text) for one in found.segments] == [
        *(("anna", "good day"), ("ben", "yes"), ("ben", "so"), (None, "far"))
    ]


def test_names_are_those_without_ending_or_white_space(tmp_path: Path) -> None:
    (tmp_path / "turns.rttm").write_text(RTTM)
    turns = read_rttm(tmp_path / "turns.rttm")
    assert [one.speaker for one in turns_of(turns, Path("x/other talk.mp3"))] == ["carl"]
    assert not turns_of(turns, Path("third.wav"))


def test_every_format_names_speakers(tmp_path: Path) -> None:
    found = spoken(tmp_path)
    assert written(found, "text") == "anna\tgood day\nben\tyes so\n<NA>\tfar\n"
    assert '"word": "yes", "start_s": 2.05, "end_s": 2.4, "confidence": null, "speaker": "ben"' in (
        written(found, "json")
    )
    assert "--> 00:00:01,200\n[anna] good day\n\n2\n" in written(found, "srt")
    assert "\n<v ben>yes\n\n" in written(found, "vtt")
    assert written(found, "vtt").endswith("\nfar\n\n")
    assert written(found, "ctm").splitlines()[:2] == [
        "talk 1 0.200 0.300 good NA lex anna",
        "talk 1 0.600 0.300 day 0.5000 lex anna",
    ]
    assert written(found, "ctm").splitlines()[-1] == "talk 1 7.000 0.200 far"
    assert written(found, "tsv").splitlines()[:2] == [
        "start\tend\tspeaker\ttext",
        "200\t900\tanna\tgood day",
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_without_speakers_nothing_is_said_of_them(name: str) -> None:
    assert "speaker" not in written(TALK, name)
    assert "<NA>" not in written(TALK, name)


def test_a_speaker_in_a_subtitle_is_no_markup(tmp_path: Path) -> None:
    found = with_speakers(TALK, [Turn(0.0, 8.0, "<b>&")])
    assert "<v &lt;b&gt;&amp;>good" in written(found, "vtt")


@pytest.mark.parametrize(
    "line",
    [
        "SPEAKER talk 1 0.0 x <NA> <NA> anna",
        "SPEAKER talk 1 -1 2 <NA> <NA> anna",
        "SPEAKER talk 1 0 nan <NA> <NA> anna",
        "SPEAKER talk 1 0 2 anna",
    ],
)
def test_a_turn_that_is_none(tmp_path: Path, line: str) -> None:
    path = tmp_path / "turns.rttm"
    path.write_text(f"{RTTM}{line}\n")
    with pytest.raises(InputError, match=r"turns\.rttm, line 6: .*allowed: SPEAKER recording"):
        read_rttm(path)


@pytest.mark.parametrize("text", ["", "what is said\n"])
def test_a_file_without_turns(tmp_path: Path, text: str) -> None:
    (tmp_path / "turns.rttm").write_text(text)
    with pytest.raises(InputError, match=r"has no line that begins with SPEAKER"):
        read_rttm(tmp_path / "turns.rttm")


times = st.integers(0, 400).map(lambda number: number / 8)
spans = st.tuples(times, st.integers(0, 40).map(lambda number: number / 8))


@given(words=st.lists(spans, max_size=12), turns=st.lists(st.tuples(spans, st.sampled_from("abc"))))
def test_speakers_are_those_of_a_search_through_all_turns(
    words: list[tuple[float, float]], turns: list[tuple[tuple[float, float], str]]
) -> None:
    spoken = tuple(TimedWord("a", start, start + length) for start, length in sorted(words))
    sorted_turns = sorted(
        (Turn(start, start + length, name) for (start, length), name in turns),
        key=lambda turn: turn.start_s,
    )
    found = with_speakers(Transcript("a", 99.0, "", spoken), sorted_turns)

    def shared(word: TimedWord, turn: Turn) -> float:
        return min(word.end_s, turn.end_s) - max(word.start_s, turn.start_s)

    for word in found.words:
        of = {
            name: sum(max(0.0, shared(word, one)) for one in sorted_turns if one.speaker == name)
            for name in "abc"
        }
        nearest = max((shared(word, one) for one in sorted_turns), default=-99.0)
        if any(of.values()):
            assert word.speaker is not None
            assert of[word.speaker] == max(of.values())
        elif nearest >= -NEAR_S:
            assert nearest in {
                shared(word, one) for one in sorted_turns if one.speaker == word.speaker
            }
        else:
            assert word.speaker is None
