"""The table of runs, which a few lines of JavaScript make sortable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asr.report.comparison import compare
from asr.report.html.markup import Markup, element
from asr.report.html.series import Series
from asr.report.record import RunRecord
from asr.report.table import Column


def results_table(records: Sequence[RunRecord], groups: Sequence[Series]) -> Markup:
    """One row per record; every cell holds the value to sort by in ``data-value``."""
    columns = compare(records, allow_unlike=True).columns
    signs = {id(record): one.sign() for one in groups for record in one.records}
    head = element("tr", *(_head(column) for column in columns))
    rows = (
        element("tr", *_cells(columns, row, signs[id(record)]))
        for row, record in enumerate(records)
    )
    table = element("table", element("thead", head), element("tbody", *rows), class_="sortable")
    return element("div", table, class_="wide", tabindex="0", role="region", aria_label="Table")


def _head(column: Column) -> Markup:
    return element("th", column.header, scope="col", class_=_class(column))


def _cells(columns: Sequence[Column], row: int, sign: Markup) -> Iterator[Markup]:
    for index, column in enumerate(columns):
        values = next(iter(column.values.values()))
        value = "" if values[row] is None else str(values[row])
        text = element("span", column.texts[row])
        if index:
            yield element("td", text, class_=_class(column), data_value=value)
        else:
            name = element("div", sign, text, class_="run")
            yield element("th", name, scope="row", class_="text", data_value=value)


def _class(column: Column) -> str:
    return "number" if column.align_right else "text"
