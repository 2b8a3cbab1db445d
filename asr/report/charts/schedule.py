"""Charts of schedules as strips of layers: leaders, their followers, and saved parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from asr.report.charts.style import (
    FILL,
    HUES,
    PAPER,
    SOFT,
    WIDE_PX,
    Chart,
    new_chart,
    shortened,
    tell,
)
from asr.report.record import ScheduledLayer
from asr.report.rows import SeedGroup, method_runs, role_letter, schedule_text
from asr.report.table import count_text

ROLE_MEANINGS = {
    "alone": "A alone: computes its own attention",
    "lead": "L lead: computes it and hands it on",
    "follow": "F follow: takes over what its leader handed on",
    "absent": "- absent: has no attention",
}
ROLE_LOOKS: Any = {
    "alone": {"facecolor": FILL, "edgecolor": SOFT},
    "lead": {"facecolor": HUES[0], "edgecolor": HUES[0]},
    "follow": {"facecolor": PAPER, "edgecolor": HUES[0], "linestyle": (0, (4, 2))},
    "absent": {"facecolor": "none", "edgecolor": SOFT, "linestyle": (0, (1, 3))},
}
_STRIP, _LANE, _METHOD = 1.0, 0.32, 0.6  # heights, in heights of a layer


def schedule_chart(groups: Sequence[SeedGroup]) -> Chart | None:
    """Chart a strip for each series that has layers, with arrows from leaders to followers."""
    groups = [one for one in groups if one.records[0].schedule]
    if not groups:
        return None
    schedules = [one.records[0].schedule for one in groups]
    tops, bottom = [], 0.0
    for schedule in schedules:
        bottom += 0.5 + _LANE * (max(_lanes(schedule).values(), default=-1) + 1)
        tops.append(bottom)
        bottom += _STRIP + (_METHOD if len(method_runs(schedule)) > 1 else 0.0)
    num_layers = max(map(len, schedules))
    width_px = min(WIDE_PX, 200 + 40.0 * num_layers)
    figure, axes = new_chart(width_px, 40 + 24 * bottom)
    for one, schedule, top in zip(groups, schedules, tops, strict=True):
        for layer in schedule:
            _draw_layer(axes, layer, one.name, top)
        _draw_arrows(axes, schedule, top)
        if len(method_runs(schedule)) > 1:
            _draw_methods(axes, schedule, top + _STRIP)
        axes.text(len(schedule) + 0.3, top + 0.5, _saved(schedule), va="center")
    axes.set_yticks([top + 0.5 for top in tops], [shortened(one.name) for one in groups])
    every = max(1, num_layers // 24 + 1)
    axes.set_xticks(
        [layer + 0.5 for layer in range(0, num_layers, every)],
        [str(layer) for layer in range(0, num_layers, every)],
    )
    axes.set_xlim(0, num_layers)
    axes.set_ylim(bottom + 0.1, 0)
    axes.set_xlabel("layer")
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    described = "; ".join(
        f"{one.name}: {schedule_text(schedule)}, {_saved(schedule)}"
        for one, schedule in zip(groups, schedules, strict=True)
    )
    return Chart(title="Resolved schedules", description=f"{described}.", figure=figure)


def _draw_layer(axes: Axes, layer: ScheduledLayer, name: str, top: float) -> None:
    box = FancyBboxPatch(
        (layer.layer + 0.06, top + 0.06), 0.88, 0.88,
        boxstyle="round,pad=0,rounding_size=0.1", **ROLE_LOOKS[layer.role],
    )  # fmt: skip
    tell(box, f"{name}: {_layer_text(layer)}", "layer")
    axes.add_patch(box)
    axes.text(
        layer.layer + 0.5,
        top + 0.5,
        role_letter(layer.role),
        ha="center",
        va="center",
        color=PAPER if layer.role == "lead" else SOFT,
    )


def _draw_arrows(axes: Axes, schedule: Sequence[ScheduledLayer], top: float) -> None:
    for leader, lane in _lanes(schedule).items():
        height = top - 0.3 - _LANE * lane
        followers = [layer.layer for layer in schedule if layer.leader == leader]
        start = leader + 0.5
        axes.plot(
            [start, start, max(followers) + 0.5], [top, height, height], color=HUES[0], linewidth=1
        )
        for follower in followers:
            axes.annotate(
                "",
                (follower + 0.5, top + 0.04),
                (follower + 0.5, height),
                arrowprops={
                    "arrowstyle": "-|>", "color": HUES[0], "linewidth": 1,
                    "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8,
                },
            )  # fmt: skip


def _draw_methods(axes: Axes, schedule: Sequence[ScheduledLayer], top: float) -> None:
    """Draw a line with the method's name under each run of layers of one method."""
    for run in method_runs(schedule):
        start, end = run[0].layer + 0.1, run[-1].layer + 0.9
        axes.plot([start, end], [top + 0.1, top + 0.1], color=SOFT, linewidth=1)
        axes.text(
            (start + end) / 2, top + 0.36, run[0].method, ha="center", va="center", color=SOFT
        )


def _lanes(schedule: Sequence[ScheduledLayer]) -> dict[int, int]:
    """Return the height of the arrows of each leader; crossing arrows get different lanes."""
    ends: dict[int, int] = {}
    for layer in schedule:
        if layer.leader is not None:
            ends[layer.leader] = max(layer.layer, ends.get(layer.leader, 0))
    lanes: dict[int, int] = {}
    for leader in sorted(ends):
        busy = {lanes[other] for other in lanes if ends[other] > leader}
        lanes[leader] = next(lane for lane in range(len(ends)) if lane not in busy)
    return lanes


def _saved(schedule: Sequence[ScheduledLayer]) -> str:
    saved = sum(layer.parameters_saved for layer in schedule)
    return f"saves {count_text(saved)} parameters" if saved else "saves no parameters"


def _layer_text(layer: ScheduledLayer) -> str:
    method = f" ({layer.method})" if layer.method else ""
    if layer.leader is None:
        role = "no attention" if layer.role == "absent" else layer.role
        return f"layer {layer.layer}, {role}{method}"
    return (
        f"layer {layer.layer} follows layer {layer.leader}{method}, {layer.heads_reused} heads "
        f"reused, {layer.parameters_saved:,} parameters saved"
    )
