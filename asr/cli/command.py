"""A command as it can be typed again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence


def command_text(words: Sequence[str | os.PathLike[str]]) -> str:
    """``words`` as one line for a POSIX shell, each quoted where it has to be.

    Control characters, and bytes that are no text (as Python keeps those of odd file names), are
    written in bash's ``$'…'``, so that the line stays one line and can be printed anywhere.
    """
    return " ".join(_quoted(os.fspath(word)) for word in words)


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    characters = (
        _escaped(character) if not character.isprintable() or character in "\\'" else character
        for character in word
    )
    return f"$'{''.join(characters)}'"


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
