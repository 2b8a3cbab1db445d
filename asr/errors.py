"""Errors that a user is told in one line, and text of strangers made fit for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

_NO_CPU_MEMORY = re.compile(r"can't allocate memory|not enough memory: you tried to allocate")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: object, *, keep: str = "") -> str:
    """The text with control characters, and bytes that are no text, escaped as in ``\\x1b``.

    Without it a file name can hold a line end, or colour and clear the reader's terminal. Those of
    ``keep`` stay.
    """
    shown = _CONTROL.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(),
        str(text),
    )
    return shown.encode("utf-8", "backslashreplace").decode()


class InputError(ValueError):
    """Input a user can mend: a file, a key, an option.

    The message is one line and says what is wrong, where, and what is allowed. Commands print it
    and exit with code 2. What a terminal would obey, in the names of files, is escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")

    def moved(self, key: str, to: str) -> InputError:
        """The same error where the config ``key``, and all below it, lies under another key."""
        return InputError(re.sub(rf"\b{re.escape(key)}(?=[.:=])", lambda _: to, str(self)))


class RunError(RuntimeError):
    """Work that had to break off: no memory, no disk space, data that went away.

    The message is one line and says what happened, where, and what to do. Commands print it and
    exit with code 3; `asr train --resume` goes on from the last checkpoint.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")


@contextmanager
def naming(file: object) -> Iterator[None]:
    """Puts ``file: `` before the text of an InputError that says nothing of where it comes from.

    For what is read from a file but checked by code that knows only its keys.
    """
    try:
        yield
    except InputError as error:
        if str(file) in str(error):
            raise
        raise InputError(f"{file}: {error}") from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on an accelerator or on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own
        return True
    return isinstance(error, RuntimeError) and bool(_NO_CPU_MEMORY.search(str(error)))
