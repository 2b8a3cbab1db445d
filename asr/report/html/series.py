"""Runs that belong together: one colour and marker for all seeds of one configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from asr.report.html.axis import line
from asr.report.html.figure import sign
from asr.report.html.markup import Markup, element, joined
from asr.report.plain import to_plain
from asr.report.record import RunRecord

NUM_HUES = 8  # colours of style.css; further series repeat them with another marker and dash
_SEED = re.compile(r"[-_ ]?\bseed[-_=]?\d+\b")
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
    groups: list[tuple[str, list[RunRecord]]] = []
    for record in records:
        key = _without_seed(record)
        for other, members in groups:
            if other == key and _seed(record) not in map(_seed, members):
                members.append(record)
                break
        else:
            groups.append((key, [record]))
    return [
        Series(name, tuple(members), index)
        for index, (name, (_, members)) in enumerate(
            zip(_names([members for _, members in groups]), groups, strict=True)
        )
    ]


def _names(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The run's name, without its seed where there are several; always different."""
    names = [
        _SEED.sub("", runs[0].run).strip("-_ ") if len(runs) > 1 else runs[0].run for runs in groups
    ]
    return [
        name if name and names.count(name) == 1 else runs[0].run
        for name, runs in zip(names, groups, strict=True)
    ]


def _without_seed(record: RunRecord) -> str:
    config = {key: value for key, value in record.config.items() if key != "seed"}
    return json.dumps([config, record.reuse, to_plain(record.schedule)], sort_keys=True)


def _seed(record: RunRecord) -> str:
    return repr(record.config.get("seed"))
