"""Errors shown to the user as one line, and escaping of text for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

_NO_CPU_MEMORY = re.compile(r"can't allocate memory|not enough memory: you tried to allocate")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: object, *, keep: str = "") -> str:
    """Return the text with control characters and undecodable bytes escaped, as in ``\\x1b``.

    Otherwise a file name could contain a line end, or colour and clear the reader's terminal.
    Characters in ``keep`` are not escaped.
    """
    shown = _CONTROL.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(),
        str(text),
    )
    return shown.encode("utf-8", "backslashreplace").decode()


class InputError(ValueError):
    """Input that the user can correct: a file, a key, an option.

    The message is one line and says what is wrong, where, and what is allowed. Commands print it
    and exit with code 2. Control characters, as in file names, are escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")

    def moved(self, key: str, to: str) -> InputError:
        """Return this error with the config ``key``, and all keys below it, renamed to ``to``."""
        return InputError(re.sub(rf"\b{re.escape(key)}(?=[.:=])", lambda _: to, str(self)))


class RunError(RuntimeError):
    """Work that had to stop: no memory, no disk space, lost data.

    The message is one line and says what happened, where, and what to do. Commands print it and
    exit with code 3; `asr train --resume` continues from the last checkpoint.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")


def check_installed(what: str, names: Sequence[str], *, extra: str) -> None:
    """Raise InputError if a package of the optional ``extra`` that ``what`` needs is missing.

    Nothing is imported.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{what} needs {', '.join(missing)}; install it by: pip install 'encore-asr[{extra}]'"
        )


@contextmanager
def naming(file: object) -> Iterator[None]:
    """Put ``file: `` before the text of an InputError that does not name its origin.

    For values read from a file but checked by code that knows only their keys.
    """
    try:
        yield
    except InputError as error:
        if str(file) in str(error):
            raise
        raise InputError(f"{file}: {error}") from None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on an accelerator or on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own
        return True
    return isinstance(error, RuntimeError) and bool(_NO_CPU_MEMORY.search(str(error)))
