"""Robust standard output and error: encodings, closed streams, broken pipes."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO

_ESCAPE = "asr.escape"


def prepare_streams() -> None:
    """Make printing safe.

    Characters missing in the terminal's encoding are written as in JSON strings, ``\\u00e9``. A
    closed stream becomes the null device, so that no file opened later takes its place; for stdout
    a warning is printed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
    if sys.stderr is None:
        sys.stderr = _null()
    if sys.stdout is None:
        sys.stdout = _null()
        print("asr: warning: standard output is closed; output is lost", file=sys.stderr)
    codecs.register_error(_ESCAPE, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPE)


def flush_streams() -> None:
    """Flush the streams; if the reader has closed the pipe or the disk is full, drop the rest.

    The interpreter would otherwise print an error when it exits.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  for the whole process


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(f"\\u{code:04x}" for code in codes), error.end
