from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from asr.cli.align import notices, textgrid
from asr.decode.greedy import TimedWord
from asr.decode.known_text import AlignedTextWord, TextAlignment
from tests.decode.package import save_tiny_package, write_noise

from .runs import Command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command line, in a folder with a recording, its text and a model."""
    monkeypatch.chdir(tmp_path)
    Path("model").symlink_to(model)
    write_noise(Path("a.wav"), 6.0)
    Path("a.txt").write_text("the cat\nhas a hat\n")
    return Command(capsys)


@pytest.mark.parametrize("written_in", ["ctm", "json", "srt", "vtt", "tsv", "text", "textgrid"])
def test_every_word_has_its_time(asr: Command, written_in: str) -> None:
    done = asr("align", "a.wav", "a.txt", "--model", "model", "--format", written_in, "--out", "o")
    assert done.code == 0
    assert done.out == ""
    text = Path("o").read_text()
    if written_in == "json":
        found = json.loads(text)
        assert [one["word"] for one in found["words"]] == ["the", "cat", "has", "a", "hat"]
        assert found["duration_s"] == 6.0
        assert {"start_s", "end_s", "score"} < found["words"][0].keys()
        said = [one["start_s"] for one in found["words"] if one["start_s"] is not None]
        assert said == sorted(said)
    elif written_in == "ctm":
        for line in text.splitlines():
            assert re.fullmatch(r"a 1 \d+\.\d{3} \d+\.\d{3} \w+", line)


def test_what_does_not_fit_is_said_in_a_line_each() -> None:
    said = AlignedTextWord("said", 0.1, 0.2, 0.9)
    unsaid = [
        AlignedTextWord(word, None, None, 0.0)
        for word in ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
    ]
    found = TextAlignment((said, *unsaid), (TimedWord("x", 0.5, 0.6), TimedWord("y", 0.6, 0.7)))
    assert notices(found) == [
        "9 of 10 words were not spoken: a b c d e f g h …",
        "2 words are not in the text: x y",
    ]
    assert notices(TextAlignment((said,), ())) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("none.wav a.txt", "none.wav: no such audio file"),
        ("a.wav none.txt", "none.txt: cannot be read"),
        ("a.wav empty.txt", "the text has no word to align"),
        ("a.wav other.txt", "the text has characters 'qx', which this model does not write"),
        ("a.wav long.txt", "the text does not fit the audio"),
    ],
)
def test_input_that_cannot_be_aligned(asr: Command, words: str, said: str) -> None:
    Path("empty.txt").write_text("\n")
    Path("other.txt").write_text("a qx cat")
    Path("long.txt").write_text("the cat has a hat " * 200)
    assert said in asr("align", *words.split(), "--model", "model").error


def test_a_textgrid_covers_the_recording() -> None:
    found = textgrid([TimedWord('a "b"', 0.5, 0.9), TimedWord("c", 0.9, 1.2)], 2.0)
    assert re.findall(r"xmin = (\S+)\n +xmax = (\S+)\n +text = (.*)", found) == [
        ("0.000", "0.500", '""'),
        ("0.500", "0.900", '"a ""b"""'),
        ("0.900", "1.200", '"c"'),
        ("1.200", "2.000", '""'),
    ]
    assert "intervals: size = 4" in found
