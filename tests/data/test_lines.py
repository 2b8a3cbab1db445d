from __future__ import annotations

import io
from pathlib import Path

import pytest

from asr.data.lines import MAX_EMPTY_LINES, MAX_LINE_BYTES, key_and_value, read_lines, split_lines
from asr.types import InputError

SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r"


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    lines = [f"left{one}right" for one in SEPARATORS]
    file.write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    assert [line for _, line in read_lines(file)] == lines


def test_lines_are_numbered_with_the_empty_ones(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("a\n\n \t\nb")
    assert list(read_lines(file)) == [(f"{file}, line 1", "a"), (f"{file}, line 4", "b")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\xe9\n", "f, line 2, byte 2: not UTF-8 text"),
        (b"a\n" + b"x" * (MAX_LINE_BYTES + 1), "f, line 2: longer than 4 MiB"),
        (b"a" + b"\n" * (MAX_EMPTY_LINES + 2), "more than 100,000 empty lines"),
    ],
)
def test_a_line_that_cannot_be_one_is_named(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(split_lines(io.BytesIO(data), "f"))


def test_what_is_no_file_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(InputError, match="cannot be read"):
            list(read_lines(path))


def test_a_key_ends_at_spaces_or_tabs() -> None:
    assert key_and_value("  u1\t \tone  two ") == ("u1", "one  two")
    assert key_and_value("u\u00a01 one\u2028two") == ("u\u00a01", "one\u2028two")
    assert key_and_value("u1") == ("u1", "")
