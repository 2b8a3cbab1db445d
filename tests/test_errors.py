from __future__ import annotations

import os

import pytest

from asr.errors import InputError, RunError, naming, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b-ü 音 😀", "a b-ü 音 😀"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("evil\u202egpj.wav", r"evil\u202egpj.wav"),
        (os.fsdecode(b"caf\xe9.wav"), r"caf\udce9.wav"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()  # can be written anywhere


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_errors_are_fit_to_be_shown(kind: type[Exception]) -> None:
    assert str(kind("a\x1b[2J: missing\nsee b")) == "a\\x1b[2J: missing\nsee b"


@pytest.mark.parametrize(
    "text", ["d_model=0; allowed: 1 to 9", "runs/a: d_model=0; allowed: 1 to 9"]
)
def test_the_file_is_named_once(text: str) -> None:
    with pytest.raises(InputError) as caught, naming("runs/a"):
        raise InputError(text)
    assert str(caught.value) == "runs/a: d_model=0; allowed: 1 to 9"
