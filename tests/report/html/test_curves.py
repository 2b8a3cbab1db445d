from dataclasses import replace
from itertools import pairwise

import pytest

from tests.report.html.pages import charts, many_records, of_class, parsed
from tests.report.records import none_record, probs_record


def names(root_class: str, *records: object) -> list[str | None]:
    (chart,) = charts(parsed(list(records)), root_class)  # type: ignore[arg-type]
    return [one.text for one in of_class(chart, "name")]


def test_baselines_of_one_encoder_are_drawn_once() -> None:
    assert names("latency", none_record(), probs_record()) == [
        "none fused",
        "none explicit",
        "none",
        "probs",
    ]


def test_baselines_of_other_encoders_are_named() -> None:
    other = probs_record()
    wide = tuple(
        replace(
            point,
            baselines={
                k: replace(b, median_ms=b.median_ms * 2) for k, b in point.baselines.items()
            },
        )
        for point in other.latency
    )
    found = names("latency", none_record(), replace(other, run="wide", latency=wide))
    assert found[:4] == [
        "none fused of none",
        "none fused of wide",
        "none explicit of none",
        "none explicit of wide",
    ]


@pytest.mark.parametrize("num_runs", [1, 12])
def test_end_labels_have_a_line_each(num_runs: int) -> None:
    records = many_records(num_runs)
    (chart,) = charts(parsed(records), "latency")
    heights = sorted(float(one.get("y") or 0) for one in of_class(chart, "name"))
    assert len(heights) == num_runs + 2
    assert all(b - a >= 14.9 for a, b in pairwise(heights))


def test_lengths_measured_are_the_ticks() -> None:
    (chart,) = charts(parsed([none_record()]), "latency")
    assert {"15", "60"} <= {one.text for one in of_class(chart, "tick")}


def test_a_run_without_baselines_has_no_speed_up() -> None:
    record = none_record()
    bare = tuple(replace(point, baselines={}, peers={}) for point in record.latency)
    root = parsed([replace(record, latency=bare)])
    assert len(charts(root, "latency")) == 1
    assert charts(root, "speed-up") == []
