"""Every chart has a mark for every number, says them to a screen reader, and fits a page."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import pytest

from asr.report.charts.attention import Line, heat_map, histogram, line_chart
from asr.report.charts.bars import (
    breakdown_charts,
    multiply_adds_charts,
    training_chart,
    training_step_charts,
)
from asr.report.charts.curves import (
    latency_chart,
    learning_charts,
    peer_chart,
    scaling_charts,
    speedup_chart,
)
from asr.report.charts.errors import difference_charts, pareto_front, trade_off_chart
from asr.report.charts.roofline import roofline_charts
from asr.report.charts.schedule import schedule_chart
from asr.report.charts.style import Chart, shortened, spread_labels, svg
from asr.report.record import LearningPoint
from asr.report.rows import by_seed
from tests.report.comparisons import differences_of, many_records, seeds
from tests.report.records import none_record, probs_record

SVG = "{http://www.w3.org/2000/svg}"
GROUPS = by_seed([none_record(), probs_record()])


def drawn(chart: Chart | None) -> ET.Element:
    """The chart as a page has it, parsed."""
    assert chart is not None
    text = svg(chart)
    assert "style=" not in text
    assert "<style" not in text
    root = ET.fromstring(text)
    assert root.find(f"{SVG}title") is not None
    described = root.findtext(f"{SVG}desc")
    assert described == chart.description
    return root


def marks(chart: Chart | None) -> Counter[str]:
    """How many marks of each kind there are; each has a title."""
    found: Counter[str] = Counter()
    for group in drawn(chart).iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if title is not None:
            assert title.text
            found[group.get("class", "")] += 1
    return found


def titles(chart: Chart | None) -> list[str]:
    return [title.text or "" for title in drawn(chart).iter(f"{SVG}title")][1:]


def test_latency_has_a_mark_for_every_time() -> None:
    chart = latency_chart(GROUPS)
    assert marks(chart)["curve"] == 4  # none, probs and two baselines
    assert marks(chart)["point"] == marks(chart)["baseline"] == 4
    assert "probs: 15 s, 40.0 ms" in titles(chart)
    assert latency_chart(by_seed([none_record(latency=())])) is None


def test_learning_curves_of_many_steps_are_marked_at_their_end() -> None:
    learning = tuple(
        LearningPoint(step=10 * n, train_loss=50.0 / n, dev_wer=80.0 / n if n % 5 == 0 else None)
        for n in range(1, 21)
    )
    loss, wer = learning_charts(by_seed([none_record(learning=learning)]))
    assert marks(loss) == {"curve": 1, "point": 1}
    assert marks(wer) == {"curve": 1, "point": 4}
    assert "none: step 200, 4.00" in titles(wer)
    assert not list(learning_charts(GROUPS))


def test_seeds_have_a_curve_each_and_one_label() -> None:
    learning = tuple(LearningPoint(step=n, train_loss=50.0 / n, dev_wer=None) for n in (1, 2, 3))
    records = [*seeds(none_record(learning=learning), 3), probs_record(learning=learning)]
    (chart,) = learning_charts(by_seed(records))
    assert marks(chart)["curve"] == 4
    assert [text.get_text() for text in chart.figure.axes[0].texts] == ["none", "probs"]
    assert "none-seed2: step 3, 16.7" in titles(chart)


def test_speed_ups_have_a_line_at_one() -> None:
    chart = speedup_chart(GROUPS, "fused")
    assert chart is not None
    assert marks(chart)["point"] == 4
    assert np.allclose(chart.figure.axes[0].lines[0].get_ydata(), 1.0)
    assert peer_chart(GROUPS, "nemo") is not None
    assert peer_chart(GROUPS, "espnet") is None


def test_throughput_over_threads_and_batches() -> None:
    threads, batches = scaling_charts(GROUPS)
    assert marks(threads)["point"] == marks(batches)["point"] == 4


def test_stacked_bars_hold_all_parts() -> None:
    stack = breakdown_charts(GROUPS)
    assert stack is not None
    assert [chart.title for chart in stack.charts] == ["15 s of audio", "60 s of audio"]
    assert marks(stack.charts[0])["segment"] == 8
    assert "none: softmax 5.00 ms (12%)" in titles(stack.charts[0])
    assert multiply_adds_charts(by_seed([none_record(macs={})])) is None


def test_training_shows_the_wait_for_data() -> None:
    assert marks(training_chart(GROUPS))["segment"] == 4
    assert any("waiting for data 6 s (2.0%)" in text for text in titles(training_chart(GROUPS)))
    assert training_chart(by_seed([none_record(training=None)])) is None
    assert [marks(chart)["segment"] for chart in training_step_charts(GROUPS)] == [2, 2]


def test_a_trade_off_has_every_seed_and_the_mean_of_several() -> None:
    groups = by_seed([*seeds(none_record(), 3), probs_record()])
    chart = trade_off_chart(groups, "test", "15")
    assert marks(chart) == {"point": 4, "mean": 1}
    assert trade_off_chart(groups, "test", "5") is None
    assert pareto_front([(1, 3), (2, 2), (3, 2), (2, 1)]) == [(1, 3), (2, 1)]


def test_differences_are_filled_where_they_are_findings() -> None:
    records = many_records(3)
    differences = differences_of(records)
    (chart,) = difference_charts(differences, by_seed(records))
    assert marks(chart)["difference"] == len(differences)
    assert all(str(one) in chart.description for one in differences)


def test_the_roof_and_the_parts_below_it() -> None:
    charts = list(roofline_charts(GROUPS, "15"))
    assert len(charts) == 2
    assert marks(charts[0]) == {"curve": 1, "point": 1}
    assert not list(roofline_charts(by_seed([none_record(ceilings={})]), "15"))


def test_a_schedule_has_a_box_for_every_layer() -> None:
    chart = schedule_chart(GROUPS)
    assert marks(chart)["layer"] == 8
    assert any("layer 3 follows layer 0 (probs), 4 heads reused" in text for text in titles(chart))


def test_a_heat_map_has_a_cell_for_every_value() -> None:
    chart = heat_map(
        "a", [[0.25, math.nan], [1.0, 0.0]], rows=["x", "y"], columns=["p", "q"],
        row_title="from", column_title="to", low=0.0, high=1.0,
    )  # fmt: skip
    assert marks(chart) == {"cell": 4}
    assert titles(chart)[:2] == ["from x, to p: 0.2500", "from x, to q: nothing measured"]


def test_lines_leave_out_what_was_not_measured() -> None:
    chart = line_chart(
        "a", [Line("one", [1.0, math.nan, 3.0]), Line("nothing", [math.nan] * 3)],
        places=[0, 1, 2], place_title="layer", value_title="share", low=0, high=4, points=True,
    )  # fmt: skip
    assert marks(chart) == {"curve": 1, "point": 2}


def test_a_histogram_has_a_bar_for_every_interval_with_something_in_it() -> None:
    chart = histogram([0, 3, 1], 2.0, title="Lengths", axis="seconds", what="utterances")
    assert marks(chart) == {"segment": 2}
    assert chart.description == "4 utterances, most of them from 2 to 4."


def test_colours_follow_the_page() -> None:
    text = svg(latency_chart(GROUPS) or pytest.fail("no chart"))
    assert "var(--hue0)" in text
    assert "var(--soft)" in text
    assert not re.search(r'stroke="#(?!000)', text)


def test_names_are_escaped() -> None:
    bad = '<script>"& $x$ 你好'
    chart = schedule_chart(by_seed([none_record(run=bad)]))
    assert any(bad in text for text in titles(chart))


def test_labels_stand_apart() -> None:
    assert spread_labels([1.0, 1.1, 5.0], 2.0, 0.0, 10.0) == [1.0, 3.0, 5.0]
    assert spread_labels([9.5, 9.6], 2.0, 0.0, 10.0) == [8.0, 10.0]
    assert shortened("a" * 30) == f"{'a' * 11}…{'a' * 12}"
