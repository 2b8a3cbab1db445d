import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from asr.metrics.wer import WordErrors
from asr.report.hypotheses import score
from asr.report.pages.comparison import comparison_page
from asr.report.record import DecodingWork, LearningPoint, SplitWer
from asr.types import UtteranceResult
from tests.report.comparisons import (
    LONG,
    SVG,
    bench_record,
    charts,
    differences_of,
    many_records,
    of_class,
    parsed,
    seeds,
    texts,
)
from tests.report.records import HARDWARE, none_record, probs_record

NONE, PROBS = none_record(), probs_record()
LAST = "Where the figures come from"
EVIL = "<script>alert('x')</script>\"&\x00"


class Balance(HTMLParser):
    """Raises where an end tag does not close the element opened last."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.num_elements = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.num_elements += 1

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        assert tag in {"meta", "input", "path", "use", "rect", "g"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def headings(root: ET.Element) -> list[str]:
    return list(texts(root, "h2"))


def test_html_is_balanced() -> None:
    parser = Balance()
    parser.feed(comparison_page([NONE, PROBS], differences_of([NONE, PROBS])))
    parser.close()
    assert parser.open == []
    assert parser.num_elements > 100


def test_every_part_is_there_when_records_hold_it() -> None:
    records = [NONE, PROBS]
    assert headings(parsed(records, differences_of(records))) == [
        "Verdict",
        "Results",
        "WER against latency",
        "Paired differences",
        "Latency over length",
        "Against other libraries",
        "Time by part",
        "Roofline",
        "Multiply-adds by part",
        "Threads and batches",
        "Training step",
        "Training cost",
        "Schedules",
        LAST,
    ]


def test_empty_parts_are_left_out() -> None:
    assert headings(parsed([bench_record()])) == [
        "Verdict",
        "Results",
        "Latency over length",
        "Against other libraries",
        "Time by part",
        "Roofline",
        "Multiply-adds by part",
        "Schedules",
        LAST,
    ]
    bare = bench_record(latency=(), breakdown={}, macs={}, schedule=())
    assert headings(parsed([bare])) == ["Results", LAST]
    untimed = none_record(
        latency=(), breakdown={}, scaling=(), training_step=(), macs={}, schedule=()
    )
    assert headings(parsed([untimed])) == ["Verdict", "Results", "Training cost", LAST]


@pytest.mark.parametrize("num_runs", [1, 5])
def test_charts_show_as_many_points_as_the_table_has_rows(num_runs: int) -> None:
    records = many_records(num_runs)
    root = parsed(records, differences_of(records))
    tables = [one for one in root.iter("table") if one.get("class") == "sortable"]
    assert [len(table.find("tbody") or ()) for table in tables] == [num_runs] * 2
    trade_offs = charts(root, "trade-off")
    # One split at two lengths; a single point trades nothing.
    assert [len(of_class(chart, "point")) for chart in trade_offs] == [num_runs] * 2 * (
        num_runs > 1
    )
    (latency,) = charts(root, "latency")
    assert len(of_class(latency, "point")) == 2 * num_runs
    steps = charts(root, "training-step")
    assert [len(of_class(chart, "segment")) for chart in steps] == [num_runs] * 2
    (training,) = charts(root, "training")
    assert len(of_class(training, "segment")) == 2 * num_runs
    assert sum(len(of_class(c, "difference")) for c in charts(root, "differences")) == num_runs - 1


def test_a_run_without_wer_has_a_row_and_no_point() -> None:
    empty = {"test": SplitWer.from_errors([WordErrors(0, 0, 1, 0)])}
    root = parsed([NONE, bench_record(run="bench"), none_record(run="empty", wer=empty)])
    assert [len(of_class(chart, "point")) for chart in charts(root, "trade-off")] == [1, 1]


def test_what_records_say_is_text() -> None:
    config = {**NONE.config, "name": EVIL}
    record = replace(
        PROBS, run=EVIL, reuse=EVIL, command=EVIL, config=config, macs={"15": {EVIL: 5}},
        breakdown={"15": {EVIL: 5.0}},
        hardware=replace(HARDWARE, cpu_model=EVIL), versions={EVIL: EVIL},
        wer={EVIL: NONE.wer["test"]}, data={},
    )  # fmt: skip
    differences = [replace(one, split=EVIL) for one in differences_of([NONE, record])]
    written = comparison_page([NONE, record], differences)
    root = ET.fromstring(written)
    assert len(list(root.iter("script"))) == 1
    assert written.count("<script") == 1
    assert "\x00" not in written
    shown = EVIL.replace("\x00", "\ufffd")
    assert any(text.endswith(shown) for text in texts(root, "th"))
    assert shown in list(texts(root, "code"))


def test_nothing_is_loaded_and_only_its_own_script_may_run() -> None:
    written = comparison_page([NONE, PROBS])
    assert set(re.findall(r"https?://[^\"' ]*", written)) == {
        *("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")
    }
    root = ET.fromstring(written)
    assert not [one for one in root.iter() if {"src", "href", "style", "onclick"} & set(one.keys())]
    (policy,) = (one for one in root.iter("meta") if one.get("http-equiv"))
    for tag in ("script", "style"):
        (text,) = (one.text for one in root.iter(tag))
        digest = base64.b64encode(hashlib.sha256((text or "").encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in (policy.get("content") or "")
    assert (policy.get("content") or "").startswith("default-src 'none';")


def test_unlike_runs_stand_under_a_warning() -> None:
    other = replace(PROBS, hardware=replace(HARDWARE, num_threads=2))
    (warning,) = of_class(parsed([NONE, other]), "warning")
    assert warning.get("role") == "alert"
    assert "threads 1 in none, 2 in probs" in "".join(warning.itertext())
    assert not of_class(parsed([NONE, PROBS]), "warning")


def test_heading_says_where_figures_come_from() -> None:
    root = parsed([NONE, PROBS])
    (origin,) = of_class(root, "origin")
    facts = list(texts(origin, "dd"))
    assert "Example CPU, 1 thread of 2 cores, float32" in facts
    assert "python 3.11.9, torch 2.11.0" in facts
    assert "0123456789 with local changes" in facts
    assert "asr train recipe.yaml reuse=probs in probs" in facts


def test_rounds_of_every_length_are_printed() -> None:
    (notes,) = of_class(parsed([NONE, PROBS]), "notes")
    assert "Timed rounds: 3 at 15, 60 s." in list(texts(notes, "li"))


def test_cells_hold_the_values_to_sort_by() -> None:
    root = parsed([NONE, replace(PROBS, training=None)])
    rows = [[cell.get("data-value") for cell in row] for row in root.iter("tr")]
    header, none, probs = rows[:3]
    names = list(texts(next(root.iter("tr")), "th"))
    assert none[names.index("WER % test")] == "20.0"
    assert none[names.index("15 s: ms (p90)")] == "40.0"
    assert none[names.index("training")] == "314.0"
    assert probs[names.index("training")] == ""
    assert set(header) == {None}


def test_seeds_share_a_colour_and_a_row_of_their_own() -> None:
    records = [*seeds(NONE, 3), *seeds(PROBS, 3)]
    root = parsed(records)
    chart = charts(root, "trade-off")[0]
    names = [next(texts(one, f"{SVG}title")).partition(":")[0] for one in of_class(chart, "point")]
    assert names == [record.run for record in records]
    hues = [
        re.findall(r"--hue\d", ET.tostring(one, "unicode"))[0] for one in of_class(chart, "point")
    ]
    assert hues == ["--hue0"] * 3 + ["--hue1"] * 3
    (table,) = (one for one in root.iter("table") if one.get("class") == "seeds")
    names = [next(texts(row, "span")) for row in table.iter("tr") if row.find("td") is not None]
    assert names == ["none", "probs"]
    assert len(charts(root, "schedules")) == 1
    assert len(of_class(charts(root, "schedules")[0], "layer")) == 2 * 4


def test_every_drawing_tells_what_it_shows() -> None:
    records = many_records(3, LONG)
    root = parsed(records, differences_of(records))
    drawings = [one for one in root.iter(f"{SVG}svg") if one.get("aria-hidden") != "true"]
    assert len(drawings) >= 8
    for drawing in drawings:
        title, description = drawing.find(f"{SVG}title"), drawing.find(f"{SVG}desc")
        assert title is not None
        assert title.text
        assert description is not None
        assert LONG in (description.text or "")
        assert drawing.get("role") == "img"


def test_length_to_show_is_chosen_without_a_script() -> None:
    root = parsed([NONE, PROBS])
    buttons = [one for one in root.iter("input") if one.get("type") == "radio"]
    assert [button.get("checked") for button in buttons] == ["checked", None] * 2
    labels = {one.get("for"): one.text for one in root.iter("label")}
    assert [labels[button.get("id")] for button in buttons] == ["15 s", "60 s"] * 2
    one_length = [replace(record, latency=record.latency[:1]) for record in (NONE, PROBS)]
    assert not list(parsed(one_length).iter("input"))


def test_a_single_run_shows_its_curves_and_its_worst_utterances() -> None:
    learning = tuple(
        LearningPoint(step=10 * n, train_loss=50.0 / n, dev_wer=80.0 / n if n % 5 == 0 else None)
        for n in range(1, 21)
    )
    said = [("u1", "a cat sat", "a mat sat on"), ("u2", "fine", "fine"), ("u3", "<b> x", "x")]
    scored = [
        score(UtteranceResult(utterance_id=name, hyp=hyp, duration_s=1.0, ref=ref))
        for name, ref, hyp in said
    ]
    root = ET.fromstring(
        comparison_page([replace(NONE, learning=learning)], examples={"test": scored})
    )
    assert headings(root)[:4] == [
        *("Verdict", "Results", "Learning curves", "Utterances with the most errors")
    ]
    loss, wer = charts(root, "learning")
    assert len(of_class(loss, "point")) == 1  # many places: only the end is marked
    assert len(of_class(wer, "point")) == 4
    (table,) = (one for one in root.iter("table") if one.get("class") == "examples")
    assert ["".join(row[1].itertext()) for row in table.find("tbody") or ()] == ["u1", "u3"]
    assert list(texts(table, "del")) == ["cat", "<b>"]
    assert list(texts(table, "ins")) == ["mat", "on"]
    assert not charts(root, "trade-off")


def test_error_rates_by_label_and_the_time_of_decoding_are_tables() -> None:
    rate = SplitWer.from_errors([WordErrors(1, 0, 0, 8)])
    work = DecodingWork(audio_s=283.1, features=0.5, encoder=12.34, search=4.0)
    told = replace(
        NONE, groups={"test": {"accent": {"scots & irish": rate}}}, decoding={"test": work}
    )
    assert not {"Error rates by label", "Time of decoding"} & {*headings(parsed([NONE]))}
    root = parsed([told])
    assert {"Error rates by label", "Time of decoding"} <= {*headings(root)}
    cells = list(texts(root, "td"))
    assert "scots & irish" in cells
    first = cells.index("283.1")
    assert cells[first : first + 4] == ["283.1", "0.50", "12.3", "4.00"]
