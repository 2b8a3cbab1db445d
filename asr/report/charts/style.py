"""The look of all charts (one colour and marker per schedule, direct labels), and their SVG.

A chart is a function that returns a `Figure`, for notebooks and pages alike. `svg` turns it into an
SVG whose colours follow the page (light or dark) and whose marks have titles to hover over.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape, unescape
from itertools import count
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

INK, SOFT, RULE, FILL, PAPER = "#1c2024", "#5c6570", "#dfe3e8", "#f5f7f9", "#fefefe"
HUES = (
    "#0e75bc", "#bd4d00", "#0f885f", "#ac3a89", "#42a3dc", "#c18f00", "#3a2789", "#7e1c1d",
)  # fmt: skip
PART_COLOURS = (
    "#24c6f6", "#322287", "#e4af39", "#d4677c", "#217c5b",
    "#977604", "#b1489d", "#99a1ae", "#662c0f", "#706ae7",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (8, 3)), (0, (2, 3)))
VARIABLES = {
    INK: "--ink", SOFT: "--soft", RULE: "--rule", FILL: "--fill", PAPER: "--paper",
    **{hue: f"--hue{index}" for index, hue in enumerate(HUES)},
    **{part: f"--part{index}" for index, part in enumerate(PART_COLOURS)},
}  # fmt: skip
"""The variables of style.css that replace these colours on a page."""

WIDE_PX, NARROW_PX = 1080, 520
LINE_PX = 15.0
_DPI = 96
_FONT_PX = 12
_LOG_FROM = 8.0  # ratio of the largest to the smallest value above which an axis is logarithmic
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.size": _FONT_PX * 72 / _DPI,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": RULE,
    "path.simplify": False,
}


def new_chart(width_px: float = NARROW_PX, height_px: float = 380) -> tuple[Figure, Axes]:
    """Return an empty figure and its axes, with a grid and without a frame."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(width_px / _DPI, height_px / _DPI), dpi=_DPI)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.grid(visible=True, linewidth=1, color=RULE)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelcolor=SOFT)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure, axes


def colour(index: int) -> str:
    """Return the colour of the series with this index."""
    return HUES[index % len(HUES)]


def marker(index: int) -> str:
    """Return the marker of the series with this index."""
    return MARKERS[index % len(MARKERS)]


def dash(index: int) -> object:
    """Return the line style; series beyond the number of colours repeat them with another style."""
    return DASHES[index // len(HUES) % len(DASHES)]


def fit_axis(
    axis: Axis, values: Sequence[float], text: Callable[[float], str] = "{:g}".format
) -> None:
    """Set a scale that holds ``values`` with some room; logarithmic if they differ much."""
    low, high = min(values), max(values)
    axes = axis.axes
    set_scale, set_limits = (
        (axes.set_xscale, axes.set_xlim) if axis is axes.xaxis else (axes.set_yscale, axes.set_ylim)
    )
    if low > 0 and high / low >= _LOG_FROM:
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        room = (high / low) ** 0.07
        set_limits(low / room, high * room)
    else:
        room = (high - low) * 0.07 or abs(high) * 0.1 or 1.0
        set_limits(low - room if low < 0 else max(low - room, 0.0), high + room)
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def ticks_at(axis: Axis, values: Sequence[float]) -> None:
    """Set ticks at the measured places only."""
    axis.set_major_locator(FixedLocator(sorted(set(values))))


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Label each end (x, y) of a line with a name right of the axes, without overlap."""
    height_px = axes.bbox.height
    wanted = [
        axes.transAxes.inverted().transform(axes.transData.transform((x, y))) for x, y, _ in ends
    ]
    places = spread_labels([y for _, y in wanted], LINE_PX / height_px, 0.0, 1.0)
    for (x, y), place, (_, _, name) in zip(wanted, places, ends, strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.03, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": SOFT,
                "linewidth": 0.75,
                "shrinkA": 2,
                "shrinkB": 5,
            },
        )


def label_points(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Label each point (x, y) if there is room; the legend of the page has all names."""
    places = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in places]
    for (x, y), (at_x, at_y, name) in zip(places, points, strict=True):
        width_px = 0.65 * _FONT_PX * len(name)
        for left, bottom in ((9, 3), (9, -18), (-9 - width_px, 3), (-9 - width_px, -18)):
            box = Bbox.from_bounds(x + left, y + bottom, width_px, LINE_PX)
            if box.x0 >= axes.bbox.x0 and not box.count_overlaps(taken):
                taken.append(box)
                points_per_px = 72 / _DPI
                axes.annotate(
                    name, (at_x, at_y), (left * points_per_px, (bottom + 3) * points_per_px),
                    textcoords="offset points", annotation_clip=False,
                )  # fmt: skip
                break


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions near ``wanted``, in the same order, at least ``gap`` apart, from ``low``.

    None exceeds ``high`` if all fit between the two.
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = [0.0] * len(wanted)
    bound = low
    for index in order:
        placed[index] = max(wanted[index], bound)
        bound = placed[index] + gap
    bound = max(high, low + gap * (len(wanted) - 1))
    for index in reversed(order):
        placed[index] = min(placed[index], bound)
        bound = placed[index] - gap
    return placed


def shortened(text: str, max_letters: int = 24) -> str:
    """Return ``text`` with its middle cut out if it is too long."""
    if len(text) <= max_letters:
        return text
    head = (max_letters - 1) // 2
    return f"{text[:head]}…{text[len(text) - (max_letters - 1 - head) :]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure with its title, and a description in words."""

    title: str
    description: str
    figure: Figure


_UNUSED = re.compile(
    r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->"
    r'| id="(?:figure|axes|patch|line2d|text|matplotlib|xtick|ytick|legend)[\w.]*"',
    re.DOTALL,
)
_MARK = re.compile(r'<g id="(\w+)\|\d+\|([^"]*)">')
_numbers = count()


def tell(artist: Artist, text: str, kind: str = "point") -> None:
    """Make the mark show ``text`` under the pointer; ``kind`` is its class in the SVG."""
    artist.set_gid(f"{kind}|{next(_numbers)}|{escape(text)}")


def svg(chart: Chart) -> str:
    """Return the chart as an SVG element with a description for screen readers.

    Colours become variables of the page, styles become attributes, so that a page needs no inline
    styles, and marks get a ``<title>``.
    """
    label = escape(f"{chart.title}. {chart.description}")
    words = f"<title>{escape(chart.title)}</title><desc>{escape(chart.description)}</desc>"
    return _element(chart.figure, f'role="img" aria-label="{label}"', words, tight=True)


@cache
def line_sign(index: int) -> str:
    """Return a piece of line with the marker of this series, for legends and rows of tables."""
    hue = colour(index)
    line = Line2D([0.1, 0.9], [0.5, 0.5], color=hue, linestyle=dash(index), linewidth=1.5)  # type: ignore[arg-type]
    return _sign(line, Line2D([0.5], [0.5], color=hue, marker=marker(index), markersize=7))


def box_sign(**look: Any) -> str:
    """Return a box in matplotlib's style ``look``, for legends."""
    return _sign(Rectangle((0.15, 0.1), 0.7, 0.8, **look))


def _sign(*artists: Artist) -> str:
    """Return a drawing of 24 by 14 pixels, with artists in fractions of it."""
    figure = Figure(figsize=(24 / _DPI, 14 / _DPI), dpi=_DPI)
    figure.patch.set_alpha(0)
    for artist in artists:
        artist.set_transform(figure.transFigure)
        figure.add_artist(artist)
    return _element(figure, 'aria-hidden="true"')


def _element(figure: Figure, head: str, words: str = "", *, tight: bool = False) -> str:
    """Return the figure as an SVG element with attributes ``head`` and ``words`` at its start.

    Ids that parts of it refer to are derived from ``words``, so they are unique in a page.
    """
    for label in figure.findobj(Text):
        assert isinstance(label, Text)
        label.set_parse_math(False)  # show "$" in run names as it is
        if label.get_color() == "black":
            label.set_color(INK)
    buffer = io.StringIO()
    bounds: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.04} if tight else {}
    with warnings.catch_warnings(), mpl.rc_context({**_SETTINGS, "svg.hashsalt": words}):
        warnings.filterwarnings("ignore", "Glyph")  # the browser's fonts have these glyphs
        figure.savefig(buffer, format="svg", metadata={"Date": None}, **bounds)
    text = buffer.getvalue().rstrip()
    text = _UNUSED.sub("", text[text.index("<svg") :])
    text = re.sub(r">\s+<", "><", text)
    text = _MARK.sub(lambda m: f'<g class="{m[1]}"><title>{unescape(m[2])}</title>', text)
    text = re.sub(r' style="([^"]*)"', lambda match: _attributes(match[1]), text)
    for hex_colour, variable in VARIABLES.items():
        text = text.replace(f'"{hex_colour}"', f'"var({variable})"')
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    assert size is not None
    width, height = (float(points) * _DPI / 72 for points in size.groups())
    text = text.replace(size[0], f'{head} width="{width:.0f}" height="{height:.0f}"', 1)
    start = text.index(">", text.index("<svg")) + 1
    return f"{text[:start]}{words}{text[start:]}"


def _attributes(style: str) -> str:
    """Convert ``fill: none; font: 9px serif`` to SVG attributes; of a font only the size."""
    written = ""
    for entry in style.split(";"):
        name, _, value = (part.strip() for part in entry.partition(":"))
        if name == "font":
            name, value = "font-size", re.sub(r".*?([\d.]+)px.*", r"\1", value)
        if value:
            written += f' {name}="{value}"'
    return written
