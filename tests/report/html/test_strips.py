from dataclasses import replace

from asr.report.record import ScheduledLayer
from tests.report.html.pages import SVG, charts, of_class, parsed, texts
from tests.report.records import none_record, probs_record


def test_each_layer_says_what_it_does_and_saves() -> None:
    (chart,) = charts(parsed([none_record(), probs_record()]), "schedules")
    layers = of_class(chart, "layer")
    titles = [title for layer in layers for title in texts(layer, f"{SVG}title")]
    assert titles[:2] == ["none: layer 0, alone (none)", "none: layer 1, alone (none)"]
    assert titles[4:6] == [
        "probs: layer 0, lead (probs)",
        "probs: layer 1 follows layer 0 (probs), 4 heads reused, 1,000 parameters saved",
    ]
    assert "".join(of_class(chart, "alone")[1].itertext()) == "A"
    assert [one.text for one in of_class(chart, "value")] == [
        "saves no parameters",
        "saves 3.00 k parameters",
    ]


def test_an_arrow_points_at_each_follower() -> None:
    (chart,) = charts(parsed([none_record(), probs_record()]), "schedules")
    assert len(of_class(chart, "head")) == 3


def test_arrows_of_entwined_leaders_lie_in_lanes() -> None:
    layers = [ScheduledLayer(layer=i, role="lead") for i in range(2)]
    layers += [ScheduledLayer(layer=i, role="follow", leader=i % 2) for i in range(2, 6)]
    record = replace(none_record(), schedule=tuple(layers))
    (chart,) = charts(parsed([record]), "schedules")
    level = {
        line.get("y1") for line in of_class(chart, "arrow") if line.get("y1") == line.get("y2")
    }
    assert len(level) == 2


def test_deep_encoders_fit_the_page() -> None:
    deep = tuple(ScheduledLayer(layer=i, role="alone") for i in range(96))
    (chart,) = charts(parsed([replace(none_record(), schedule=deep)]), "schedules")
    assert float(chart.get("width") or 0) <= 1101
    assert len(of_class(chart, "layer")) == 96


def test_layers_without_attention_are_told_from_those_with_it() -> None:
    layers = [ScheduledLayer(layer=i, role="alone", method="absent") for i in range(2)]
    layers += [ScheduledLayer(layer=i, role="absent", method="absent") for i in range(2, 4)]
    (chart,) = charts(parsed([replace(none_record(), schedule=tuple(layers))]), "schedules")
    titles = [title for layer in of_class(chart, "layer") for title in texts(layer, f"{SVG}title")]
    assert [title.partition(", ")[2] for title in titles] == [
        "alone (absent)",
        "alone (absent)",
        "no attention (absent)",
        "no attention (absent)",
    ]
    assert [shape.tag for shape in of_class(chart, "absent")] == [f"{SVG}rect", f"{SVG}text"] * 2
    assert "".join(of_class(chart, "absent")[1].itertext()) == "-"
    assert not of_class(chart, "run"), "one method needs no line under it"


def test_runs_of_mixed_methods_are_named() -> None:
    layers = [ScheduledLayer(layer=i, role="alone", method="none") for i in range(6)]
    layers += [ScheduledLayer(layer=i, role="alone", method="local") for i in range(6, 12)]
    mixed = replace(none_record(), run="mixed", schedule=tuple(layers))
    (chart,) = charts(parsed([mixed, none_record()]), "schedules")
    assert len(of_class(chart, "run")) == 2
    ticks = [tick.text for tick in of_class(chart, "tick")]
    assert ticks[:2] == ["none", "local"]


def test_a_record_that_names_no_methods_is_drawn_as_before() -> None:
    layers = tuple(ScheduledLayer(layer=i, role="alone") for i in range(4))
    (chart,) = charts(parsed([replace(none_record(), schedule=layers)]), "schedules")
    titles = [title for layer in of_class(chart, "layer") for title in texts(layer, f"{SVG}title")]
    assert titles[0] == "none: layer 0, alone"
