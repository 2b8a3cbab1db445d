"""Lines of text files that people wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asr.types import InputError


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; ``InputError`` where it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def json_objects(path: Path, lines: Sequence[str]) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Where each line of ``path`` stands, and its JSON object or what is wrong with it."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        yield where, record if isinstance(record, dict) else "not a JSON object"
