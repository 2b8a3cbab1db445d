"""The table of runs, which a few lines of JavaScript make sortable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asr.report.comparison import compare
from asr.report.html.markup import Markup, element, joined
from asr.report.html.series import Series
from asr.report.hypotheses import WerDifference
from asr.report.record import RunRecord
from asr.report.table import Column


def schedules_table(
    records: Sequence[RunRecord],
    groups: Sequence[Series],
    differences: Sequence[WerDifference],
) -> Markup:
    """One row per schedule, with figures of one length."""
    table = compare(
        records, allow_unlike=True, differences=differences, by_run=False, all_lengths=False
    )
    return _table(table.columns, [one.sign() for one in groups])


def results_table(records: Sequence[RunRecord], groups: Sequence[Series]) -> Markup:
    """One row per record, with figures of every length."""
    signs = {id(record): one.sign() for one in groups for record in one.records}
    return _table(
        compare(records, allow_unlike=True).columns, [signs[id(record)] for record in records]
    )


def _table(columns: Sequence[Column], signs: Sequence[Markup]) -> Markup:
    """Every cell holds the value to sort by in ``data-value``."""
    head = element("tr", *(_head(column) for column in columns))
    rows = (element("tr", *_cells(columns, row, sign)) for row, sign in enumerate(signs))
    table = element("table", element("thead", head), element("tbody", *rows), class_="sortable")
    return element("div", table, class_="wide", tabindex="0", role="region", aria_label="Table")


def _head(column: Column) -> Markup:
    return element("th", column.header, scope="col", class_=_class(column))


def _cells(columns: Sequence[Column], row: int, sign: Markup) -> Iterator[Markup]:
    for index, column in enumerate(columns):
        values = next(iter(column.values.values()))
        value = "" if values[row] is None else str(values[row])
        if index:
            text = joined(_lines(column.texts[row]))
            yield element("td", text, class_=_class(column), data_value=value)
        else:
            name = element("div", sign, element("span", column.texts[row]), class_="run")
            yield element("th", name, scope="row", class_="text", data_value=value)


def _lines(text: str) -> Iterator[Markup]:
    """A figure, and what stands beside it, an interval or a remark, on a line below."""
    end = min((at for mark in (" [", " (", ", ") if (at := text.find(mark)) > 0), default=len(text))
    yield element("span", text[:end])
    if end < len(text):
        yield element("small", text[end:].removeprefix(","))


def _class(column: Column) -> str:
    return "number" if column.align_right else "text"
