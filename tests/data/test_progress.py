from __future__ import annotations

import io

import pytest

from asr.data.progress import Meter, size_text


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
    with Meter("a.tar.gz", 1_000_000, lines.append, terminal=io.StringIO()) as meter:
        for num_bytes in range(0, 1_000_001, 1000):
            meter(num_bytes)
    assert len(lines) == 10
    assert lines[0].startswith("a.tar.gz: 10%, 100 kB of 1.0 MB, ")
    assert lines[-1].startswith("a.tar.gz: 100%, 1.0 MB of 1.0 MB, ")


def test_a_terminal_shows_one_line_that_moves_and_goes() -> None:
    lines: list[str] = []
    terminal = Terminal()
    with Meter("a.tar.gz", 1_000_000, lines.append, terminal=terminal) as meter:
        meter(500_000)
        meter(500_001)  # too soon to draw again
    shown = terminal.getvalue()
    assert lines == []
    assert shown.count("a.tar.gz: [############............] 50%, 500 kB of 1.0 MB") == 1
    assert shown.endswith("\r\x1b[K")


def test_rate_and_time_left_count_from_where_it_began() -> None:
    meter = Meter("x", 10_000_000_000, print, start_num_bytes=4_000_000_000)
    line = meter.line(5_000_000_000, 100.0)
    assert "50%, 5.0 GB of 10.0 GB, 10.0 MB/s, 8 min left" in line
    assert Meter("x", None, print).line(2_000_000, 2.0) == "x: 2.0 MB, 1.0 MB/s"
    assert "left" not in meter.line(4_000_000_000, 1.0)
