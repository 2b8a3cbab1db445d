"""Text files that people and other programs wrote, line by line.

A line ends at a line feed, and a carriage return before it belongs to the end. Other characters
that Unicode calls line separators (U+2028, U+0085, vertical tab, form feed, …) are part of a
line. Lines are read one at a time and have a largest length, so that a hostile file takes neither
memory nor time.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from asr.types import InputError

MAX_LINE_BYTES = 1 << 22  # of one utterance; a day of speech is a quarter of that
MAX_EMPTY_LINES = 100_000  # a corpus has none; no corpus needs more
_SPACES = re.compile(r"[ \t]+")


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each line of a text file stands, and the line; lines without text are left out.

    Raises ``InputError`` where the file cannot be read, and as :func:`split_lines` does.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot be read (not a file)")
    try:
        with path.open("rb") as file:
            yield from split_lines(file, str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def split_lines(file: BinaryIO | io.BufferedIOBase, name: str) -> Iterator[tuple[str, str]]:
    """Where each line of ``file`` stands, and the line; lines without text are left out.

    Raises ``InputError`` that names the line where it is not UTF-8 or longer than
    ``MAX_LINE_BYTES``, or where there are more than ``MAX_EMPTY_LINES`` empty ones.
    """
    number = num_empty = 0
    while data := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if data.isspace():
            num_empty += 1
            if num_empty > MAX_EMPTY_LINES:
                raise InputError(
                    f"{name}, line {number}: more than {MAX_EMPTY_LINES:,} empty lines"
                )
        if len(data) > MAX_LINE_BYTES:
            raise InputError(
                f"{name}, line {number}: longer than {MAX_LINE_BYTES >> 20} MiB; "
                "one utterance a line is expected"
            )
        try:
            line = data.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}, byte {error.start + 1}: not UTF-8 text"
            ) from None
        if line.strip():
            yield f"{name}, line {number}", line.removesuffix("\n").removesuffix("\r")


def key_and_value(line: str) -> tuple[str, str]:
    """The first word of a line and the rest, as Kaldi parts them: at spaces or tabs."""
    key, *rest = _SPACES.split(line.strip(" \t"), maxsplit=1)
    return key, rest[0] if rest else ""


def json_objects(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Where each line stands, and its JSON object or what is wrong with it."""
    for where, line in lines:
        try:
            yield where, json_object(line)
        except InputError as error:
            yield where, str(error)


def json_object(line: str) -> dict[str, Any]:
    """The JSON object of a line; ``InputError`` says what is wrong with it, and in which column."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"not a JSON object: column {error.colno}: {error.msg}") from None
    except ValueError:  # Python reads no number of more than 4300 digits
        raise InputError("not a JSON object: a number of thousands of digits") from None
    except RecursionError:
        raise InputError("not a JSON object: nested too deeply") from None
    if not isinstance(record, dict):
        raise InputError("not a JSON object")
    if "\\ud" in line.lower():
        _check_characters(record)
    return record


def _check_characters(record: dict[str, Any]) -> None:
    """Escapes can spell half of a character, which no UTF-8 file can hold."""
    for key, value in record.items():
        try:
            json.dumps([key, value], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError(f"key {key!r} holds half of a surrogate pair, no character") from None
