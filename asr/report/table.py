"""Tables as Markdown, CSV or aligned text, and numbers formatted for reading."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

MISSING = "-"


def count_text(count: float) -> str:
    """Format with three digits and a prefix: 1250000 is "1.25 M", 950 is "950"."""
    count = float(f"{count:.3g}")
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= size:
            return f"{number_text(count / size)} {prefix}"
    return f"{count:g}"


def number_text(number: float) -> str:
    """Format with three digits, or all before the point: "4.21", "87.3", "1532"."""
    if abs(number) >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if abs(number) >= 9.995 else f"{number:.2f}"


def duration_text(seconds: float) -> str:
    """Format with the two largest units: "48 s", "5 min 14 s", "2 h 05 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def percent_text(percent: float) -> str:
    """Format a rate in percent with two decimals, without the sign; "-" for NaN."""
    return MISSING if math.isnan(percent) else f"{percent:.2f}"


def speedup_text(speedup: float, low: float | None = None, high: float | None = None) -> str:
    """Format a factor and its interval: "1.18x [1.15, 1.21]"; no interval if exactly 1."""
    if low is None or high is None or low == speedup == high:
        return f"{speedup:.2f}x"
    return f"{speedup:.2f}x [{low:.2f}, {high:.2f}]"


_GAP = "  "
NAME_WIDTH = 24  # characters of a name in a terminal


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a cell's text for each row, and the plain values of its CSV columns.

    ``values`` has CSV headers, with units, as keys; None is an empty cell.
    """

    header: str
    texts: tuple[str, ...]
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    align_right: bool = True

    def lines(self) -> list[str]:
        """Return header and cells, padded to the same width."""
        width = max(len(text) for text in (self.header, *self.texts))
        cells = (self.header, *self.texts)
        return [cell.rjust(width) if self.align_right else cell.ljust(width) for cell in cells]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length, and values only for the CSV.

    ``verdict`` are sentences above the columns, ``notes`` those below.
    """

    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    csv_only: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.columns
        assert len({len(column.texts) for column in self.columns}) == 1

    def markdown(self) -> str:
        """Return a Markdown table, with its notes as a list."""
        header = [column.header for column in self.columns]
        rule = ["---:" if column.align_right else ":---" for column in self.columns]
        rows = zip(*(column.texts for column in self.columns), strict=True)
        lines = [f"| {' | '.join(_escape(c) for c in row)} |" for row in (header, rule, *rows)]
        notes = [f"- {_one_line(note)}" for note in self.notes]
        verdict = [f"- {_one_line(text)}" for text in self.verdict]
        return "\n".join([*verdict, *([""] if verdict else []), *lines, "", *notes]).rstrip() + "\n"

    def csv(self) -> str:
        """Return CSV with full precision and units in the header, without notes."""
        values = {key: cells for column in self.columns for key, cells in column.values.items()}
        values |= self.csv_only
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(values)
        writer.writerows(zip(*values.values(), strict=True))
        return file.getvalue()

    def text(self, width: int = 100) -> str:
        """Return aligned columns for a terminal of ``width`` characters.

        Columns that do not fit continue in a block below, after the first column again, whose names
        are shortened to `NAME_WIDTH`.
        """
        verdict = "\n".join(_wrap(text, width) for text in self.verdict)
        blocks = ["\n".join(_join(block)) for block in self._blocks(width)]
        notes = "\n".join(_wrap(note, width) for note in self.notes)
        return "\n\n".join([*([verdict] if verdict else []), *blocks, notes]).rstrip() + "\n"

    def _blocks(self, width: int) -> list[list[Column]]:
        first, *others = self.columns
        first = replace(first, texts=short_names(first.texts))
        blocks = [[first]]
        for column in others:
            if len(blocks[-1]) > 1 and len(_join([*blocks[-1], column])[0]) > width:
                blocks.append([first])
            blocks[-1].append(column)
        return blocks


def short_names(names: Sequence[str], most: int = NAME_WIDTH) -> tuple[str, ...]:
    """Shorten ``names`` to ``most`` characters by cutting the middle; distinct ones stay distinct.

    If two would become equal, each begins with its number in the list.
    """
    short = [_without_middle(name, most) for name in names]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}
    return tuple(
        text
        if all(names[i] == name for i, other in enumerate(short) if other == text)
        else f"{numbers[name]}:{_without_middle(name, most - len(f'{numbers[name]}:'))}"
        for name, text in zip(names, short, strict=True)
    )


def _without_middle(name: str, most: int) -> str:
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


def _join(columns: Sequence[Column]) -> list[str]:
    """Return the lines of a block; the rule below the header has the width of the header."""
    rows = [_GAP.join(cells) for cells in zip(*(c.lines() for c in columns), strict=True)]
    return [rows[0].rstrip(), "-" * len(rows[0]), *(row.rstrip() for row in rows[1:])]


def _wrap(note: str, width: int) -> str:
    return textwrap.fill(
        _one_line(note),
        width,
        subsequent_indent=_GAP,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _escape(cell: str) -> str:
    return _one_line(cell).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())
