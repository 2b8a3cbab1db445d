from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

from asr.report.analysis import Analysis
from asr.report.pages.analysis import analysis_page, percentile_98

SVG = "{http://www.w3.org/2000/svg}"


def tree(text: str) -> ElementTree.Element:
    """The page is well-formed."""
    return ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))


def charts(text: str) -> dict[str, ElementTree.Element]:
    found = {}
    for chart in tree(text).iter(f"{SVG}svg"):
        title = chart.find(f"{SVG}title")
        if title is not None and title.text:
            found[title.text] = chart
    return found


def marks(chart: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [group for group in chart.iter(f"{SVG}g") if group.get("class") == kind]


def cells(chart: ElementTree.Element) -> list[str]:
    return [cell.findtext(f"{SVG}title", "") for cell in marks(chart, "cell")]


def test_every_measure_is_drawn(analysis: Analysis) -> None:
    found = charts(analysis_page(analysis))
    assert found.keys() == {
        "Total variation, same heads",
        "Total variation, best match",
        "Jensen-Shannon, same heads",
        "CAD of every head",
        "Attention within a range, upper layers darker",
        "Own token against others",
        "Tokens read from each layer",
        *(f"Layer {layer}" for layer in range(4)),
    }


def test_trials_are_drawn_as_what_they_add(tried: Analysis) -> None:
    text = analysis_page(tried)
    shown = cells(charts(text)["Loss added by each pair"])
    assert len(shown) == 16
    assert tried.tried is not None
    loss = tried.tried.loss[1][2]
    assert loss is not None
    assert shown[6] == f"leader 1, follower 2: {loss - tried.tried.full_loss:.4f}"
    assert shown[4] == "leader 1, follower 0: nothing measured"
    ids = [section.get("id") for section in tree(text).iter("section")]
    assert ids[0] == "groups"  # the answer first
    assert "trials" in ids


def test_a_heat_map_has_a_cell_for_every_number(analysis: Analysis) -> None:
    found = charts(analysis_page(analysis))
    similarity = analysis.similarity.jensen_shannon
    shown = cells(found["Jensen-Shannon, same heads"])
    assert len(shown) == 16
    assert shown[9] == f"layer 2, layer 1: {similarity[2][1]:.4f}"
    assert len(cells(found["CAD of every head"])) == 4 * 2
    assert analysis.relationship is not None
    assert len(cells(found["Layer 3"])) == len(analysis.relationship.tokens) ** 2


def test_a_chart_has_as_many_points_as_there_are_layers(analysis: Analysis) -> None:
    found = charts(analysis_page(analysis))
    probe = found["Tokens read from each layer"]
    assert len(marks(probe, "point")) == 2 * 4  # the probe, and chance
    assert len(marks(found["Attention within a range, upper layers darker"], "curve")) == 4


def test_the_page_loads_nothing(analysis: Analysis) -> None:
    text = analysis_page(analysis)
    assert "<script" not in text
    assert "default-src 'none'" in text.replace("&#39;", "'")
    links = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", text)
    assert all(link.startswith("#") for link in links)
    assert set(re.findall(r"https?://[^\"\s<]+", text)) == {
        *("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")
    }


def test_names_are_escaped(analysis: Analysis) -> None:
    text = analysis_page(replace(analysis, run="<b>&"))
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;: analysis of its attention" in text


def test_what_was_not_measured_is_left_out(analysis: Analysis) -> None:
    text = analysis_page(replace(analysis, relationship=None, probe=None, suggested=None))
    assert {section.get("id") for section in tree(text).iter("section")} == {
        *("layers", "similarity", "diagonality")
    }


def test_the_scale_ends_where_few_values_exceed_it() -> None:
    assert percentile_98([float(value) for value in range(1, 101)]) == 98.0
    assert percentile_98([3.0, float("nan")]) == 3.0
    assert percentile_98([]) == 1.0
