"""The parts of a page as plain data, and the jinja2 templates that turn them into HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from asr.report.charts.style import Chart, svg
from asr.report.hypotheses import ScoredUtterance
from asr.report.notes import Origin
from asr.report.table import Table

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Block:
    """A piece of a section, rendered by the template with the class's name in lower case."""

    @property
    def template(self) -> str:
        """The path of its template."""
        return f"blocks/{type(self).__name__.lower()}.html.jinja"


@dataclass(frozen=True)
class Paragraphs(Block):
    """Sentences; ``kind`` is a class of style.css."""

    texts: Sequence[str]
    kind: str = ""


@dataclass(frozen=True)
class Notes(Block):
    """A list of small remarks."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Preformatted(Block):
    """Text with its line breaks and spaces kept."""

    text: str


@dataclass(frozen=True)
class Legend(Block):
    """Signs and their meanings."""

    entries: Sequence[tuple[Markup, str]]


@dataclass(frozen=True)
class Figures(Block):
    """Charts side by side; ``kind`` is the class of each."""

    kind: str
    charts: Sequence[Chart]


@dataclass(frozen=True)
class Choice(Block):
    """Labelled panels, of which the reader chooses the one to show."""

    name: str
    question: str
    panels: Sequence[tuple[str, Block]]
    chosen: str


@dataclass(frozen=True)
class Folded(Block):
    """Content that the reader can unfold."""

    summary: str
    content: Block


@dataclass(frozen=True)
class Cell:
    """A cell; ``detail`` is a line below, ``value`` is the sort key of a sortable table.

    A cell with a ``sign`` names its row.
    """

    text: str
    kind: str = "number"
    detail: str = ""
    value: str | None = None
    sign: Markup | None = None


@dataclass(frozen=True)
class Grid(Block):
    """Rows of cells under headers; a header is a text and the kind of its column."""

    head: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Cell]]
    kind: str = ""
    title: str = ""


@dataclass(frozen=True)
class Alignments(Block):
    """Utterances by split, word by word, with errors marked."""

    utterances: Sequence[tuple[str, ScoredUtterance]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page; ``reading`` says in plain words how to read it."""

    id: str
    title: str
    blocks: Sequence[Block]
    reading: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole page.

    ``introduction``, ``answer`` and ``warnings`` come before its sections, ``origins`` (where its
    figures come from) after them. ``is_sortable`` adds the script that sorts tables by a column.
    """

    title: str
    heading: str
    sections: Sequence[Section]
    introduction: Sequence[str] = ()
    answer: str = ""
    warnings: Sequence[str] = ()
    origins: Sequence[Origin] = ()
    is_sortable: bool = False


def text_grid(
    headers: Sequence[str], rows: Sequence[Sequence[str]], text_columns: Sequence[int] = (0,)
) -> Grid:
    """Return a grid of plain texts; columns in ``text_columns`` hold words, the others numbers."""
    kinds = ["text" if index in text_columns else "number" for index in range(len(headers))]
    return Grid(
        head=list(zip(headers, kinds, strict=True)),
        rows=[[Cell(*pair) for pair in zip(row, kinds, strict=True)] for row in rows],
    )


def table_grid(table: Table) -> Grid:
    """Return a table of the terminal as a grid; columns aligned left hold words."""
    rows = list(zip(*(column.texts for column in table.columns), strict=True))
    words = [place for place, column in enumerate(table.columns) if not column.align_right]
    return text_grid([column.header for column in table.columns], rows, words)


def render(page: Page) -> str:
    """Return the page as HTML that is also well-formed XML.

    Its security policy forbids the browser to load anything or to run any script except the one
    that sorts tables.
    """
    style, script = _asset("style.css"), _asset("sort.js")
    policy = f"default-src 'none'; style-src {_digest(style)}"
    if page.is_sortable:
        policy += f"; script-src {_digest(script)}"
    template = _environment().get_template("page.html.jinja")
    written = template.render(page=page, policy=policy, style=style, script=script)
    return _NOT_XML.sub("\ufffd", written)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("asr.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["svg"] = lambda chart: Markup(svg(chart))
    return environment


@cache
def _asset(name: str) -> Markup:
    """Return a file from the templates' folder, unchanged."""
    path = resources.files("asr.report").joinpath("templates", name)
    return Markup(path.read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    """Return the hash of a text in the form of a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
