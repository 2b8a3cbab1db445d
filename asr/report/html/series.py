"""Runs that belong together: one colour and marker for all seeds of one configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.report.html.axis import line
from asr.report.html.figure import sign
from asr.report.html.markup import Markup, element, joined
from asr.report.record import RunRecord
from asr.report.rows import by_seed

NUM_HUES = 8  # colours of style.css; further series repeat them with another marker and dash
_OUTLINES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "M-4.5-4.5h9v9h-9z",
    "M0-6.5L6 4.5H-6z",
    "M0-6.5L6 0L0 6.5L-6 0z",
    "M0 6.5L6-4.5H-6z",
    "M-2-5.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5z",
    "M-5.5-2.5L-2.5-5.5L0-3L2.5-5.5L5.5-2.5L3 0L5.5 2.5L2.5 5.5L0 3L-2.5 5.5L-5.5 2.5L-3 0z",
)


@dataclass(frozen=True, slots=True)
class Series:
    """Runs whose configs differ in ``seed`` only; ``index`` picks colour, marker and dash."""

    name: str
    records: tuple[RunRecord, ...]
    index: int

    @property
    def hue(self) -> str:
        """CSS class of the colour and the dash."""
        return f"hue{self.index % NUM_HUES} dash{self.index // NUM_HUES % 3}"

    def marker(self, x: float, y: float, title: str = "", class_: str = "point") -> Markup:
        """The marker with its middle at (x, y)."""
        return element(
            "path",
            *([element("title", title)] if title else []),
            d=_OUTLINES[self.index % len(_OUTLINES)],
            transform=f"translate({x:.2f} {y:.2f})",
            class_=f"{class_} {self.hue}",
        )

    def sign(self) -> Markup:
        """Line and marker for the legend."""
        return sign(joined([line(0, 7, 24, 7, f"curve {self.hue}"), self.marker(12, 7, "", "key")]))


def grouped(records: Sequence[RunRecord]) -> list[Series]:
    """The series of ``records``, in the order of their first runs."""
    return [
        Series(group.name, group.records, index) for index, group in enumerate(by_seed(records))
    ]
