"""Utterances of a run with the most errors, word by word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from asr.report.html.markup import Markup, element
from asr.report.hypotheses import ScoredUtterance, Step

NUM_EXAMPLES = 10


def error_examples(examples: Mapping[str, Sequence[ScoredUtterance]]) -> Markup | None:
    """The worst utterances of each split, what was said and what was heard; None without errors."""
    rows = [row for split, scored in examples.items() for row in _rows(split, scored)]
    if not rows:
        return None
    header = ("split", "utterance", "errors", "said, with what was heard")
    head = element("tr", *(element("th", text, scope="col", class_="text") for text in header))
    table = element("table", element("thead", head), element("tbody", *rows), class_="examples")
    return element("div", table, class_="wide")


def _rows(split: str, scored: Sequence[ScoredUtterance]) -> Iterator[Markup]:
    wrong = [one for one in scored if one.errors.errors]
    worst = sorted(wrong, key=lambda one: one.errors.errors, reverse=True)[:NUM_EXAMPLES]
    for one in worst:
        yield element(
            "tr",
            element("td", split, class_="text"),
            element("td", one.utterance_id, class_="text id"),
            element("td", f"{one.errors.errors} of {one.words}", class_="text"),
            element("td", *_words(one.alignment), class_="text words"),
        )


def _words(alignment: Sequence[Step]) -> Iterator[str]:
    for step in alignment:
        if step.op == "equal":
            yield f"{step.ref} "
            continue
        if step.ref is not None:
            yield element("del", step.ref)
            yield " "
        if step.hyp is not None:
            yield element("ins", step.hyp)
            yield " "
