"""The page of an analysis of attention: proposed groups first, then heat maps and curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from asr.report.analysis import Analysis, Relationship, Tried
from asr.report.analysis_table import headline, layer_table, mean, proposal, suggestion_lines
from asr.report.charts.attention import Line, heat_map, line_chart
from asr.report.charts.style import Chart
from asr.report.pages.render import (
    Block,
    Figures,
    Notes,
    Page,
    Preformatted,
    Section,
    render,
    table_grid,
)

_UNIFORM_CAD = 2 / 3


def analysis_page(analysis: Analysis) -> str:
    """Return the whole page, without the parts that were not measured."""
    return render(
        Page(
            title=f"{analysis.run}: attention",
            heading=f"{analysis.run}: analysis of its attention",
            introduction=[headline(analysis)],
            answer=proposal(analysis),
            sections=list(_sections(analysis)),
        )
    )


def _sections(analysis: Analysis) -> Iterator[Section]:
    if analysis.suggested is not None:
        yield Section(
            id="groups",
            title="Groups to try",
            reading="Sizes of consecutive groups of layers, from the lowest; the first layer of a "
            "group computes attention and the others reuse it.",
            blocks=[Preformatted("\n".join(suggestion_lines(analysis)))],
        )
    table = layer_table(analysis)
    yield Section(id="layers", title="Layers", blocks=[table_grid(table), Notes(table.notes)])
    yield Section(
        id="similarity",
        title="Similarity of layers",
        reading="1 means equal maps. A reused map replaces heads of equal index (first and third "
        "picture); if the best match is much more similar, heads have changed places. Means over "
        "heads, frames and utterances.",
        blocks=[Figures("heat-map", list(similarity_charts(analysis)))],
    )
    yield Section(
        id="diagonality",
        title="Diagonality",
        reading="Share of a frame's attention within a range around it, and the area under this "
        "curve (CAD): 1 for a head that attends only to its own frame, 0.67 for uniform attention. "
        "Our reading of Shim et al. 2022, whose formula was not available.",
        blocks=[Figures("heat-map", list(diagonality_charts(analysis)))],
    )
    if analysis.relationship is not None:
        yield Section(
            id="relationship",
            title="Which tokens attend to which",
            reading="Attention from the token of the row to that of the column, in multiples of "
            "uniform attention, mean over heads. Frames of the same occurrence of a token are "
            "left out. All layers have one scale, which 2 % of the pairs exceed. A dark diagonal "
            "means that a layer compares equal sounds. Our reading of the "
            "phoneme attention relationship of Shim et al. 2022, on the model's tokens and its "
            "own forced alignment.",
            blocks=_relationship_blocks(analysis, analysis.relationship),
        )
    if analysis.probe is not None:
        yield Section(
            id="probe",
            title="Probe",
            reading="Accuracy of a linear classifier of tokens on a layer's output: trained on "
            f"{analysis.probe.num_train_frames:,} frames, tested on "
            f"{analysis.probe.num_test_frames:,} of other utterances. The alignment is that of the "
            "model's last layer, which favours the upper ones. The dashed line is the accuracy of "
            "always choosing the most frequent token.",
            blocks=[Figures("lines", [probe_chart(analysis)])],
        )
    if analysis.tried is not None:
        yield Section(
            id="trials",
            title="Trials",
            reading="Loss added when one layer follows another by reuse "
            f"{analysis.tried.method}, with all other layers unchanged, without training: mean CTC "
            f"loss per utterance over {analysis.tried.num_utterances} utterances, in nats. The "
            f"unchanged model has a loss of {analysis.tried.full_loss:.3f}. Training can recover "
            "some of it; that losses add up over followers is an assumption.",
            blocks=[Figures("heat-map", [trial_chart(analysis.tried)])],
        )


def similarity_charts(analysis: Analysis) -> Iterator[Chart]:
    """Chart the similarity of layers: total variation, best match, Jensen-Shannon."""
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


def diagonality_charts(analysis: Analysis) -> Iterator[Chart]:
    """Chart the CAD of every head, and the curve of every layer."""
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
            opacity=0.25 + 0.75 * (index + 1) / len(names),
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


def same_token_chart(analysis: Analysis, relationship: Relationship) -> Chart:
    """Chart attention to the same token and to other tokens over the layers."""
    same = Line("own token elsewhere", [mean(heads) for heads in relationship.same], 0)
    other = Line("other tokens", [mean(heads) for heads in relationship.other], 1)
    known = [value for value in (*same.values, *other.values) if not math.isnan(value)]
    return line_chart(
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


def relationship_charts(analysis: Analysis, relationship: Relationship) -> Iterator[Chart]:
    """Chart attention from token to token in every layer, on one scale."""
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
    """Return the value that 2 % exceed, so that a rare pair of tokens does not pale all others."""
    known = sorted(value for value in values if not math.isnan(value))
    return known[math.ceil(0.98 * len(known)) - 1] if known else 1.0


def probe_chart(analysis: Analysis) -> Chart:
    """Chart the accuracy of every layer."""
    assert analysis.probe is not None
    layers = range(len(analysis.probe.accuracy))
    return line_chart(
        "Tokens read from each layer",
        [
            Line("probe", analysis.probe.accuracy),
            Line("most frequent token", [analysis.probe.chance] * len(layers), dashed=True),
        ],
        places=layers,
        place_title="layer",
        value_title="accuracy, %",
        low=0.0,
        high=100.0,
        points=True,
        ticks=layers,
    )


def trial_chart(tried: Tried) -> Chart:
    """Chart the loss that each pair of leader and follower adds."""
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


def _relationship_blocks(analysis: Analysis, relationship: Relationship) -> list[Block]:
    return [
        Figures("lines", [same_token_chart(analysis, relationship)]),
        Figures("heat-map", list(relationship_charts(analysis, relationship))),
    ]
