"""An analysis as one HTML file with heat maps and curves: no network, no script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from asr.report.analysis.heat_map import heat_map
from asr.report.analysis.line_chart import Line, line_chart, line_sign
from asr.report.analysis.result import Analysis, Relationship, Tried
from asr.report.analysis.text import headline, layer_table, mean, suggestion_lines, verdict
from asr.report.html.document import asset, document
from asr.report.html.figure import grid, legend, section, sign
from asr.report.html.markup import Markup, element, joined
from asr.report.table import Table

_UNIFORM_CAD = 2 / 3


def page(analysis: Analysis) -> str:
    """The whole page; parts for which nothing was measured are left out."""
    style = joined([asset("asr.report.html", "style.css"), asset(__package__, "analysis.css")])
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
