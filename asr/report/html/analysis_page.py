"""An analysis as one HTML file with heat maps and curves: no network, no script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr.report.analysis import Analysis, Relationship, Tried
from asr.report.analysis_table import headline, layer_table, mean, suggestion_lines, verdict
from asr.report.html.axis import horizontal_axis, line, tick_room, vertical_axis, words
from asr.report.html.document import asset, document
from asr.report.html.figure import drawing, figure, grid, legend, section, sign
from asr.report.html.label import Box, text_width
from asr.report.html.markup import Markup, element, joined
from asr.report.html.scale import Scale
from asr.report.table import Table

_TITLE_PX = 20.0
_STRONG = 0.6  # share of the range from which a number is written light on dark


def heat_map(
    title: str,
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_title: str,
    column_title: str,
    low: float,
    high: float,
    cell_px: float = 34.0,
    numbers: bool = True,
) -> Markup:
    """``values`` from ``low`` (blank) to ``high`` (full); NaN is grey.

    ``numbers`` writes two digits into every cell; the exact value is in its title either way.
    """
    left = max(text_width(name) for name in (*rows, row_title)) + 12
    widest = max(map(text_width, columns))
    upright = widest > cell_px  # names of columns, read from below
    top = _TITLE_PX + (widest + 10 if upright else _TITLE_PX)
    width = max(left + cell_px * len(columns) + 2, text_width(column_title) + left)
    height = top + cell_px * len(rows) + 2
    marks = [words(column_title, left, 12, "title"), words(row_title, 2, top - 6, "title")]
    for index, name in enumerate(columns):
        middle = left + (index + 0.5) * cell_px
        marks.append(
            element(
                "text",
                name,
                class_="tick",
                transform=f"translate({middle + 4:g} {top - 6:g}) rotate(-90)",
            )
            if upright
            else words(name, middle, top - 6, "tick", anchor="middle")
        )
    for row, (name, cells) in enumerate(zip(rows, values, strict=True)):
        y = top + row * cell_px
        marks.append(words(name, left - 6, y + cell_px / 2 + 4, "tick", anchor="end"))
        for column, value in enumerate(cells):
            label = f"{row_title} {name}, {column_title} {columns[column]}: {_text(value, 4)}"
            marks += _cell(value, left + column * cell_px, y, cell_px, label, low, high, numbers)
    described = f"{row_title} by {column_title}, {_extent(values)}."
    return figure(title, drawing(width, height, title, described, *marks), "heat-map")


def _cell(
    value: float,
    x: float,
    y: float,
    size: float,
    label: str,
    low: float,
    high: float,
    numbers: bool,
) -> list[Markup]:
    place = {"x": x, "y": y, "width": size - 1, "height": size - 1}
    if math.isnan(value):
        return [element("rect", element("title", label), **place, class_="nothing")]
    share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 1.0
    shapes = [element("rect", element("title", label), **place, class_="cell", fill_opacity=share)]
    if numbers:
        strength = "number strong" if share > _STRONG else "number"
        shapes.append(words(_text(value, 2), x + size / 2, y + size / 2 + 4, strength))
    return shapes


def _extent(values: Sequence[Sequence[float]]) -> str:
    known = [value for line in values for value in line if not math.isnan(value)]
    return f"from {_text(min(known), 2)} to {_text(max(known), 2)}" if known else "nothing measured"


def _text(value: float, digits: int) -> str:
    return "nothing measured" if math.isnan(value) else f"{value:.{digits}f}"


_WIDTH, _HEIGHT = 540.0, 320.0


@dataclass(frozen=True, slots=True)
class Line:
    """Values over the axis; NaN interrupts nothing, it is left out. ``strength`` is 0 to 1."""

    name: str
    values: Sequence[float]
    class_: str
    strength: float = 1.0


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    places: Sequence[float],
    place_title: str,
    value_title: str,
    low: float,
    high: float,
    points: bool,
    ticks: Sequence[float] | None = None,
) -> Markup:
    """Each line through its values at ``places``; with ``points`` each value is marked."""
    y = Scale(low, high, _HEIGHT - 52, 34)
    area = Box(tick_room(y), 34, _WIDTH - 16, _HEIGHT - 52)
    x = Scale(min(places), max(max(places), min(places) + 1e-9), area.left + 8, area.right - 8)
    shapes = [
        horizontal_axis(x, area, place_title, ticks=ticks),
        vertical_axis(y, area, value_title),
    ]
    for one in lines:
        known = [
            (place, value)
            for place, value in zip(places, one.values, strict=True)
            if not math.isnan(value)
        ]
        path = "L".join(f"{x(place):.2f} {y(value):.2f}" for place, value in known)
        name = element("title", one.name)
        shapes.append(
            element(
                "path",
                name,
                d=f"M{path}" if path else None,
                class_=f"curve {one.class_}",
                stroke_opacity=one.strength,
            )
        )
        if points:
            shapes += [
                element(
                    "circle",
                    element("title", f"{one.name}, {place_title} {place:g}: {value:.4g}"),
                    cx=x(place),
                    cy=y(value),
                    r=3.0,
                    class_=f"dot {one.class_}",
                )
                for place, value in known
            ]
    described = ", ".join(one.name for one in lines)
    chart = drawing(_WIDTH, _HEIGHT, title, f"{value_title}: {described}.", *shapes)
    return figure(title, chart, "lines")


def line_sign(one: Line) -> Markup:
    """A stretch of the line, for a legend."""
    return element("g", line(2, 7, 22, 7, f"curve {one.class_}"))


_UNIFORM_CAD = 2 / 3


def page(analysis: Analysis) -> str:
    """The whole page; parts for which nothing was measured are left out."""
    style = joined(
        [asset("asr.report.html", "style.css"), asset("asr.report.html", "analysis.css")]
    )
    return document(
        f"{analysis.run}: attention",
        element(
            "header",
            element("h1", f"{analysis.run}: where its attention goes"),
            element("p", headline(analysis), class_="reading"),
            element("p", answer, class_="verdict") if (answer := verdict(analysis)) else "",
        ),
        element("main", *_sections(analysis)),
        style=style,
    )


def _sections(analysis: Analysis) -> Iterator[Markup]:
    if analysis.suggested is not None:
        lines = suggestion_lines(analysis)
        yield section(
            "Groups to try",
            element("pre", element("code", "\n".join(lines)), class_="answer"),
            reading="Sizes of consecutive groups of layers, bottom first; the first layer of a "
            "group computes attention and the others take it over.",
            id_="groups",
        )
    table = layer_table(analysis)
    notes = element("ul", *(element("li", note) for note in table.notes), class_="notes")
    yield section("Layers", html_table(table), notes, id_="layers")
    yield section(
        "Similarity of layers",
        grid(similarity_charts(analysis)),
        reading="1 is the same map. A reused map stands in for heads of the same index (first and "
        "third picture); a best match well above them means that heads have changed places. Mean "
        "over heads, frames and utterances.",
        id_="similarity",
    )
    yield section(
        "Diagonality",
        grid(diagonality_charts(analysis)),
        reading="How much of the attention of a frame falls within a range of it, and the area "
        "under that curve (CAD): 1 for a head that looks at its own frame only, 0.67 for one that "
        "looks everywhere alike. Our reading of Shim et al. 2022, whose formula was not at hand.",
        id_="diagonality",
    )
    if analysis.relationship is not None:
        yield section(
            "Which tokens look at which",
            grid(relationship_charts(analysis, analysis.relationship)),
            reading="Attention from the token of the row to that of the column, in multiples of "
            "what uniform attention gives, mean over heads. A frame's own stretch of the same "
            "token is left out. One scale for all layers, which ends where 2 % of the pairs "
            "exceed it. A dark diagonal is a layer that compares like sounds. Our reading of the "
            "phoneme attention relationship of Shim et al. 2022, on the model's tokens and its "
            "own forced alignment.",
            id_="relationship",
        )
    if analysis.probe is not None:
        yield section(
            "Probe",
            probe_chart(analysis),
            reading=f"Tokens that a linear classifier reads from the output of a layer: learnt on "
            f"{analysis.probe.num_train_frames:,} frames, tested on "
            f"{analysis.probe.num_test_frames:,} of other utterances. The alignment is that of the "
            "model's last layer, which favours the upper ones. The dashed line always names the "
            "most frequent token.",
            id_="probe",
        )
    if analysis.tried is not None:
        yield section(
            "Trials",
            trial_chart(analysis.tried),
            reading=f"The loss that is added when one layer follows another by reuse "
            f"{analysis.tried.method}, all other layers as they were, without training: mean CTC "
            f"loss per utterance over {analysis.tried.num_utterances} utterances, in nats; the "
            f"model as it is loses {analysis.tried.full_loss:.3f}. What training brings back is "
            "not in it, and that losses add up over followers is an assumption.",
            id_="trials",
        )


def trial_chart(tried: Tried) -> Markup:
    """What each pair of leader and follower adds to the loss."""
    added = [
        [math.nan if loss is None else loss - tried.full_loss for loss in row] for row in tried.loss
    ]
    names = [str(layer) for layer in range(len(added))]
    known = [value for row in added for value in row if not math.isnan(value)]
    return heat_map(
        "Loss added by each pair",
        added,
        rows=names,
        columns=names,
        row_title="leader",
        column_title="follower",
        low=0.0,
        high=max(known, default=1.0),
    )


def html_table(table: Table) -> Markup:
    """A table as text, wide ones in a box of their own."""
    head = element("tr", *(element("th", one.header, class_="number") for one in table.columns))
    rows = (
        element("tr", *(element("td", text, class_="number") for text in row))
        for row in zip(*(one.texts for one in table.columns), strict=True)
    )
    return element(
        "div", element("table", element("thead", head), element("tbody", *rows)), class_="wide"
    )


def similarity_charts(analysis: Analysis) -> Iterator[Markup]:
    """Layer by layer: total variation, best match, Jensen-Shannon."""
    similarity = analysis.similarity
    names = [str(layer) for layer in analysis.map_layers]
    best = [[mean(heads) for heads in row] for row in similarity.best_match]
    for title, values in (
        ("Total variation, same heads", similarity.total_variation),
        ("Total variation, best match", best),
        ("Jensen-Shannon, same heads", similarity.jensen_shannon),
    ):
        yield heat_map(
            title,
            values,
            rows=names,
            columns=names,
            row_title="layer",
            column_title="layer",
            low=0.0,
            high=1.0,
        )


def diagonality_charts(analysis: Analysis) -> Iterator[Markup]:
    """CAD of every head, and the curve of every layer."""
    found = analysis.diagonality
    names = [str(layer) for layer in analysis.map_layers]
    yield heat_map(
        "CAD of every head",
        found.area,
        rows=names,
        columns=[str(head) for head in range(analysis.num_heads)],
        row_title="layer",
        column_title="head",
        low=min(_UNIFORM_CAD, *(min(heads) for heads in found.area)),
        high=1.0,
    )
    curves = [
        Line(
            f"layer {name}",
            [mean(points) for points in zip(*heads, strict=True)],
            "shaded",
            0.25 + 0.75 * (index + 1) / len(names),
        )
        for index, (name, heads) in enumerate(zip(names, found.curve, strict=True))
    ]
    yield line_chart(
        "Attention within a range, upper layers darker",
        curves,
        places=found.range,
        place_title="range, share of the utterance",
        value_title="share of the attention, mean over heads",
        low=0.0,
        high=1.0,
        points=False,
    )


def relationship_charts(analysis: Analysis, relationship: Relationship) -> Iterator[Markup]:
    """Own against other tokens over the layers, then every layer in full."""
    same = Line("own token elsewhere", [mean(heads) for heads in relationship.same], "hue0")
    other = Line("other tokens", [mean(heads) for heads in relationship.other], "hue1")
    known = [value for value in (*same.values, *other.values) if not math.isnan(value)]
    chart = line_chart(
        "Own token against others",
        [same, other],
        places=analysis.map_layers,
        place_title="layer",
        value_title="times uniform attention",
        low=0.0,
        high=1.1 * max(known, default=1.0),
        points=True,
        ticks=analysis.map_layers,
    )
    signs = legend((sign(line_sign(one)), one.name) for one in (same, other))
    yield element("div", signs, chart)
    high = percentile_98([value for cube in relationship.layers for row in cube for value in row])
    for layer, values in zip(analysis.map_layers, relationship.layers, strict=True):
        yield heat_map(
            f"Layer {layer}",
            values,
            rows=relationship.tokens,
            columns=relationship.tokens,
            row_title="from",
            column_title="to",
            low=0.0,
            high=high,
            cell_px=14.5,
            numbers=False,
        )


def percentile_98(values: Sequence[float]) -> float:
    """The value that few exceed, so that a rare pair of tokens does not pale all others."""
    known = sorted(value for value in values if not math.isnan(value))
    return known[math.ceil(0.98 * len(known)) - 1] if known else 1.0


def probe_chart(analysis: Analysis) -> Markup:
    """Accuracy of every layer."""
    assert analysis.probe is not None
    layers = range(len(analysis.probe.accuracy))
    return line_chart(
        "Tokens read from each layer",
        [
            Line("probe", analysis.probe.accuracy, "hue0"),
            Line("most frequent token", [analysis.probe.chance] * len(layers), "chance"),
        ],
        places=layers,
        place_title="layer",
        value_title="accuracy, %",
        low=0.0,
        high=100.0,
        points=True,
        ticks=layers,
    )
