"""How the WER varies from seed to seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev

from asr.report.html.markup import Markup, element
from asr.report.html.series import Series
from asr.report.table import percent_text

_HEADER = ("schedule", "split", "seeds", "mean WER %", "standard deviation", "lowest", "highest")


def seeds_table(groups: Sequence[Series]) -> Markup | None:
    """Mean, standard deviation and range over the seeds; None where no series has several."""
    rows = [row for one in groups for row in _rows(one)]
    if not rows:
        return None
    head = element("tr", *(element("th", text, scope="col") for text in _HEADER))
    table = element("table", element("thead", head), element("tbody", *rows), class_="seeds")
    return element("div", element("h3", "Over seeds"), table, class_="wide")


def _rows(series: Series) -> Iterator[Markup]:
    for split in dict.fromkeys(split for record in series.records for split in record.wer):
        rates = [record.wer[split].wer for record in series.records if split in record.wer]
        rates = [rate for rate in rates if not math.isnan(rate)]
        if len(rates) > 1:
            numbers = (fmean(rates), stdev(rates), min(rates), max(rates))
            name = element("div", series.sign(), series.name, class_="run")
            yield element(
                "tr",
                element("th", name, scope="row"),
                element("td", split, class_="text"),
                *(element("td", text, class_="number")
                  for text in (str(len(rates)), *map(percent_text, numbers))),
            )  # fmt: skip
