from dataclasses import replace

import pytest

from tests.report.html.pages import SVG, charts, of_class, parsed, texts
from tests.report.records import none_record, probs_record


def test_pieces_are_milliseconds_in_the_order_of_parts() -> None:
    breakdown = {"15": {"mix": 30.0, "scores": 10.0, "fused attention": 60.0}}
    (chart,) = charts(parsed([replace(none_record(), breakdown=breakdown)]), "breakdown")
    pieces = of_class(chart, "segment")
    assert [next(texts(piece, f"{SVG}title")) for piece in pieces] == [
        "none: scores, 10.0 ms (10%)",
        "none: mix, 30.0 ms (30%)",
        "none: fused attention, 60.0 ms (60%)",
    ]
    widths = [float(piece.get("width") or 0) for piece in pieces]
    assert widths[1] / sum(widths) == pytest.approx(0.3, abs=1e-3)
    (value,) = of_class(chart, "value")
    assert value.text == "100 ms"


def test_a_part_has_one_colour_in_all_charts() -> None:
    root = parsed([none_record(), probs_record(breakdown={"15": {"softmax": 1.0}})])
    chart = charts(root, "breakdown")[0]
    softmax = [
        piece for piece in of_class(chart, "segment") if "softmax" in "".join(piece.itertext())
    ]
    assert len({piece.get("class") for piece in softmax}) == 1
    assert len(softmax) == 2
