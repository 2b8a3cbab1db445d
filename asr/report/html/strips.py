"""The resolved schedules as strips of layers: who leads, who follows whom, what that saves."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.html.axis import line, words
from asr.report.html.figure import drawing, figure, legend, sign
from asr.report.html.label import shortened, text_width
from asr.report.html.markup import Markup, element, joined
from asr.report.html.series import Series
from asr.report.record import ScheduledLayer
from asr.report.rows import method_runs, role_letter, schedule_text
from asr.report.table import count_text

_WIDTH = 1100.0
_LABEL_PX = 200.0
_CELL_PX, _CELL_HEIGHT = 40.0, 22.0
_LANE = 7.0
_METHOD_PX = 14.0


def schedule_strips(groups: Sequence[Series]) -> Markup | None:
    """A strip for each series that has layers, with arrows from leaders to their followers."""
    groups = [one for one in groups if one.records[0].schedule]
    if not groups:
        return None
    names = [shortened(one.name, _LABEL_PX) for one in groups]
    texts = [_text(one.records[0].schedule) for one in groups]
    left = max(map(text_width, names)) + 12
    right = max(map(text_width, texts)) + 16
    num_layers = max(len(one.records[0].schedule) for one in groups)
    cell = min(_CELL_PX, (_WIDTH - left - right) / num_layers)
    shapes = []
    top = 4.0
    for one, name, text in zip(groups, names, texts, strict=True):
        schedule = one.records[0].schedule
        lanes = _lanes(schedule)
        top += 12 + _LANE * (max(lanes.values(), default=-1) + 1)
        shapes += [
            words(name, left - 8, top + 15, "name", anchor="end"),
            *(_arrows(leader, schedule, lane, left, top, cell) for leader, lane in lanes.items()),
            *(_layer(layer, one.name, left, top, cell) for layer in schedule),
            words(text, left + cell * len(schedule) + 10, top + 15, "value"),
        ]
        top += _CELL_HEIGHT
        if len(method_runs(schedule)) > 1:
            shapes += _methods(schedule, left, top, cell)
            top += _METHOD_PX
    every = max(1, -(-24 // int(cell)))
    shapes += [
        words(str(layer), left + cell * (layer + 0.5), top + 16, "tick", anchor="middle")
        for layer in range(0, num_layers, every)
    ]
    shapes.append(words("layer", left - 8, top + 16, "title", anchor="end"))
    title = "Resolved schedules"
    described = "; ".join(
        f"{one.name}: {schedule_text(one.records[0].schedule)}, {text}"
        for one, text in zip(groups, texts, strict=True)
    )
    width = left + cell * num_layers + right
    chart = drawing(width, top + 24, title, f"{described}.", *shapes)
    return joined([_legend(), figure(title, chart, "schedules")])


def _text(schedule: Sequence[ScheduledLayer]) -> str:
    saved = sum(layer.parameters_saved for layer in schedule)
    return f"saves {count_text(saved)} parameters" if saved else "saves no parameters"


def _lanes(schedule: Sequence[ScheduledLayer]) -> dict[int, int]:
    """The height of the arrows of each leader; those that would cross lie in different lanes."""
    ends: dict[int, int] = {}
    for layer in schedule:
        if layer.leader is not None:
            ends[layer.leader] = max(layer.layer, ends.get(layer.leader, 0))
    lanes: dict[int, int] = {}
    for leader in sorted(ends):
        busy = {lanes[other] for other in lanes if ends[other] > leader}
        lanes[leader] = next(lane for lane in range(len(ends)) if lane not in busy)
    return lanes


def _arrows(
    leader: int,
    schedule: Sequence[ScheduledLayer],
    lane: int,
    left: float,
    top: float,
    cell: float,
) -> Markup:
    followers = [layer.layer for layer in schedule if layer.leader == leader]
    height = top - 8 - _LANE * lane
    start = left + cell * (leader + 0.5)
    shapes = [line(start, top, start, height, "arrow")]
    for follower in followers:
        x = left + cell * (follower + 0.5)
        shapes += [
            line(x, height, x, top - 3, "arrow"),
            element("path", d=f"M{x - 3:.2f} {top - 5:.2f}h6l-3 5z", class_="head"),
        ]
    end = left + cell * (max(followers) + 0.5)
    return joined([line(start, height, end, height, "arrow"), *shapes])


def _methods(
    schedule: Sequence[ScheduledLayer], left: float, top: float, cell: float
) -> list[Markup]:
    """A line under each run of layers of one method, with its name."""
    shapes = []
    for run in method_runs(schedule):
        start, end = left + cell * run[0].layer, left + cell * (run[-1].layer + 1)
        name = shortened(run[0].method, end - start)
        shapes += [
            line(start + 2, top + 2.5, end - 2, top + 2.5, "run"),
            words(name, (start + end) / 2, top + _METHOD_PX, "tick", anchor="middle"),
        ]
    return shapes


def _layer(layer: ScheduledLayer, name: str, left: float, top: float, cell: float) -> Markup:
    x = left + cell * layer.layer
    shapes = [
        element("title", f"{name}: {_layer_text(layer)}"),
        element(
            "rect", x=x + 1, y=top, width=cell - 2, height=_CELL_HEIGHT, rx=3, class_=layer.role
        ),
    ]
    if cell >= 14:
        letter = role_letter(layer.role)
        shapes.append(words(letter, x + cell / 2, top + 15, layer.role, anchor="middle"))
    return element("g", *shapes, class_="layer")


def _layer_text(layer: ScheduledLayer) -> str:
    method = f" ({layer.method})" if layer.method else ""
    if layer.leader is None:
        role = "no attention" if layer.role == "absent" else layer.role
        return f"layer {layer.layer}, {role}{method}"
    return (
        f"layer {layer.layer} follows layer {layer.leader}{method}, {layer.heads_reused} heads "
        f"reused, {layer.parameters_saved:,} parameters saved"
    )


def _legend() -> Markup:
    meanings = {
        "alone": "A alone: computes its own attention",
        "lead": "L lead: computes it and hands it on",
        "follow": "F follow: takes over what its leader handed on",
        "absent": "- absent: has no attention",
    }
    return legend(
        (sign(element("rect", x=4, y=1, width=16, height=12, rx=2, class_=role)), meaning)
        for role, meaning in meanings.items()
    )
