from __future__ import annotations

import io

import pytest

from asr.data.progress import ByteProgress, size_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (999_600, "1.0 MB"), (6_387_309_499, "6.4 GB")],
)
def test_sizes_are_read_at_a_glance(num_bytes: int, text: str) -> None:
    assert size_text(num_bytes) == text


def test_without_a_terminal_ten_lines_are_enough() -> None:
    lines: list[str] = []
    with ByteProgress("a.tar.gz", 1_000_000, lines.append, terminal=io.StringIO()) as progress:
        for num_bytes in range(0, 1_000_001, 1000):
            progress(num_bytes)
    assert len(lines) == 10
    assert lines[0] == "a.tar.gz: 10%, 100 kB of 1.0 MB"
    assert lines[-1] == "a.tar.gz: 100%, 1.0 MB of 1.0 MB"


def test_lines_of_an_unknown_total_come_a_gigabyte_apart() -> None:
    lines: list[str] = []
    with ByteProgress("x", None, lines.append, terminal=io.StringIO()) as progress:
        progress(999_999_999)
        progress(1_000_000_000)
    assert lines == ["x: 1.0 GB"]


def test_a_terminal_shows_one_line_that_goes() -> None:
    lines: list[str] = []
    terminal = Terminal()
    with ByteProgress("a.tar.gz", 1_000_000, lines.append, terminal=terminal) as progress:
        progress(500_000)
    shown = terminal.getvalue()
    assert lines == []
    assert "a.tar.gz" in shown
    assert "\n" not in shown
    assert shown.endswith("\r")
