"""What the page is about, what does not compare, and where its figures come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asr.report.html.markup import Markup, element, joined
from asr.report.notes import Origin, mismatches, origins
from asr.report.record import RunRecord


def heading(records: Sequence[RunRecord]) -> Markup:
    """Title, and a warning for each way in which the runs are unlike."""
    return element("header", element("h1", page_title(records)), *_warnings(records))


def provenance(records: Sequence[RunRecord]) -> Markup:
    """Hardware, versions, code, command and time of the figures: the end of a page."""
    return element(
        "footer",
        element("h2", "Where the figures come from"),
        element("dl", *_facts(records), class_="origin"),
    )


def page_title(records: Sequence[RunRecord]) -> str:
    """The recipes' names and the number of runs."""
    names = dict.fromkeys(
        str(record.config["name"]) for record in records if "name" in record.config
    )
    runs = f"{len(records)} run{'s' if len(records) != 1 else ''}"
    return f"{', '.join(names)}: {runs}" if names else f"Encore: {runs}"


def _facts(records: Sequence[RunRecord]) -> Iterator[Markup]:
    for origin in origins(records):
        yield element("dt", origin.title)
        yield element("dd", *_text(origin))
    times = sorted({record.created_at for record in records})
    yield element("dt", "Recorded")
    yield element("dd", times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}")


def _text(origin: Origin) -> Iterator[Markup]:
    yield element("code" if origin.title == "Command" else "span", origin.text)
    if origin.runs:
        yield element("small", f" in {', '.join(origin.runs)}")


def _warnings(records: Sequence[RunRecord]) -> Iterator[Markup]:
    unlike = mismatches(records)
    if unlike:
        yield element(
            "div",
            element("h2", "These runs are not alike"),
            element("p", "A difference between them may come from this and not from the schedule."),
            element("ul", joined(element("li", text) for text in unlike)),
            class_="warning",
            role="alert",
        )
