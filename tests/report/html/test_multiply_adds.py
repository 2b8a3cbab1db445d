from dataclasses import replace

import pytest

from asr.report.html.multiply_adds import part_name
from asr.report.html.stacked import NUM_PARTS
from tests.report.html.pages import SVG, charts, of_class, parsed, texts
from tests.report.records import none_record


def test_pieces_add_up_to_the_bar() -> None:
    record = replace(none_record(), macs={"15": {"a": 600, "b": 200}, "60": {"a": 3000, "b": 1000}})
    root = parsed([record])
    for chart, total in zip(charts(root, "multiply-adds"), (800, 4000), strict=True):
        widths = [float(one.get("width") or 0) for one in of_class(chart, "segment")]
        assert widths[0] / sum(widths) == pytest.approx(0.75, abs=1e-3)
        (value,) = of_class(chart, "value")
        assert value.text == {800: "800", 4000: "4.00 k"}[total]


def test_small_parts_beyond_the_colours_are_added_up() -> None:
    parts = {f"part{size}": size for size in range(1, 15)}
    root = parsed([replace(none_record(), macs={"15": parts})])
    (chart,) = charts(root, "multiply-adds")
    segments = of_class(chart, "segment")
    assert len(segments) == NUM_PARTS
    last = list(texts(segments[-1], f"{SVG}title"))
    assert last == ["none: other parts, 15 (14%)"]


def test_parts_are_named_in_words() -> None:
    assert part_name("layers.feedforward_in") == "layers: feedforward in"
