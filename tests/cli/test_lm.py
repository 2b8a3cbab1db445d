from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from asr.lm.ngram import read_arpa
from tests.decode.package import save_tiny_package

from .runs import Command


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command line, in a folder with a text of twelve sentences, and its start."""
    monkeypatch.chdir(tmp_path)
    text = "a cat sat on a mat\na dog sat\n\nthe cat ran\n" * 4
    Path("text.txt.gz").write_bytes(gzip.compress(text.encode()))
    Path("dev.txt").write_text("a cat ran\nno owl\n")
    return Command(capsys)


def test_a_text_becomes_a_model(asr: Command) -> None:
    done = asr("lm", "train", "text.txt.gz", "--out", "a.arpa.gz", "--dev", "dev.txt")
    assert done.code == 0
    made, told = done.out.splitlines()
    assert made.startswith("12 sentences, 48 words: 11 1-grams, ")
    assert made.endswith(" -> a.arpa.gz")
    assert "over 5 words and 2 ends of sentences, 40.0 % of the words not listed" in told
    assert len(read_arpa(Path("a.arpa.gz")).orders) == 3


def test_pieces_of_a_model_are_read_by_it(asr: Command, tmp_path: Path) -> None:
    model = save_tiny_package(tmp_path / "model")
    words = ("lm", "train", "text.txt.gz", "--model", model, "--pieces", "--order", "2")
    assert asr(*words, "--out", "pieces.arpa").code == 0
    pieces = set(read_arpa(tmp_path / "pieces.arpa").vocabulary)
    assert "\u2581" in "".join(pieces)
    assert asr("lm", "train", "text.txt.gz", "--model", model, "--out", "words.arpa").code == 0
    assert "mat" in read_arpa(tmp_path / "words.arpa").vocabulary


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("text.txt.gz --out a.txt", "--out a.txt: its name must end with .arpa or .arpa.gz"),
        ("none.txt --out a.arpa", "none.txt: cannot be read"),
        ("text.txt.gz --out a.arpa --prune 0,2,1", "allowed: numbers that do not decrease"),
        ("text.txt.gz --out a.arpa --order 0", "--order"),
        ("text.txt.gz --out a.arpa --pieces", "--pieces needs a recogniser"),
    ],
)
def test_arguments_that_do_not_go(asr: Command, words: str, said: str) -> None:
    assert said in asr("lm", "train", *words.split()).error
    assert not Path("a.arpa").exists()
