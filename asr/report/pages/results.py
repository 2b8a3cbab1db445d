"""The tables of a comparison: schedules, every run, spread over seeds, worst utterances."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

from markupsafe import Markup

from asr.report.charts.style import line_sign
from asr.report.comparison import compare
from asr.report.hypotheses import ScoredUtterance, WerDifference
from asr.report.pages.render import Alignments, Cell, Grid, Legend
from asr.report.record import RunRecord
from asr.report.rows import SeedGroup
from asr.report.table import Column, percent_text

NUM_WORST = 10
"""Utterances shown per split."""


def series_sign(series: SeedGroup) -> Markup:
    """Return the line and marker of a series."""
    return Markup(line_sign(series.index))


def series_legend(groups: Sequence[SeedGroup]) -> Legend:
    """Return every series with its sign."""
    return Legend([(series_sign(one), one.name) for one in groups])


def schedules_grid(
    records: Sequence[RunRecord], groups: Sequence[SeedGroup], differences: Sequence[WerDifference]
) -> Grid:
    """Return a row for each schedule, with figures of one length."""
    table = compare(
        records, allow_unlike=True, differences=differences, by_run=False, all_lengths=False
    )
    return _sortable(table.columns, groups)


def runs_grid(records: Sequence[RunRecord], groups: Sequence[SeedGroup]) -> Grid:
    """Return a row for each run, with figures of every length."""
    series = {id(record): one for one in groups for record in one.records}
    table = compare(records, allow_unlike=True)
    return _sortable(table.columns, [series[id(record)] for record in records])


def seeds_grid(groups: Sequence[SeedGroup]) -> Grid | None:
    """Return mean, standard deviation and range over the seeds; None if no series has several."""
    rows = [row for one in groups for row in _seed_rows(one)]
    if not rows:
        return None
    words = ("schedule", "split")
    numbers = ("seeds", "mean WER %", "standard deviation", "lowest", "highest")
    head = [*((text, "text") for text in words), *((text, "number") for text in numbers)]
    return Grid(head, rows, kind="seeds", title="Over seeds")


def worst_utterances(examples: Mapping[str, Sequence[ScoredUtterance]]) -> Alignments | None:
    """Return the utterances with the most errors of each split; None without errors."""
    found = []
    for split, scored in examples.items():
        wrong = [one for one in scored if one.errors.errors]
        worst = sorted(wrong, key=lambda one: one.errors.errors, reverse=True)[:NUM_WORST]
        found += [(split, one) for one in worst]
    return Alignments(found) if found else None


def _sortable(columns: Sequence[Column], row_series: Sequence[SeedGroup]) -> Grid:
    rows = [
        [
            _cell(column, row, series_sign(one) if place == 0 else None)
            for place, column in enumerate(columns)
        ]
        for row, one in enumerate(row_series)
    ]
    return Grid([(column.header, _kind(column)) for column in columns], rows, kind="sortable")


def _cell(column: Column, row: int, sign: Markup | None) -> Cell:
    """Return a cell for a figure; an interval or a remark goes to a line below."""
    number = next(iter(column.values.values()))[row]
    value = "" if number is None else str(number)
    text = column.texts[row]
    if sign is not None:
        return Cell(text, "text", value=value, sign=sign)
    ends = [place for mark in (" [", " (", ", ") if (place := text.find(mark)) > 0]
    end = min(ends, default=len(text))
    return Cell(text[:end], _kind(column), text[end:].removeprefix(","), value)


def _kind(column: Column) -> str:
    return "number" if column.align_right else "text"


def _seed_rows(series: SeedGroup) -> Iterator[list[Cell]]:
    for split in dict.fromkeys(split for record in series.records for split in record.wer):
        rates = [record.wer[split].wer for record in series.records if split in record.wer]
        rates = [rate for rate in rates if not math.isnan(rate)]
        if len(rates) > 1:
            numbers = (fmean(rates), stdev(rates), min(rates), max(rates))
            yield [
                Cell(series.name, "text", sign=series_sign(series)),
                Cell(split, "text"),
                Cell(str(len(rates))),
                *map(Cell, map(percent_text, numbers)),
            ]
