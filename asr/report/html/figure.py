"""A chart with its title, legend and caption."""

from __future__ import annotations

from collections.abc import Iterable

from asr.report.html.markup import Markup, element, joined


def drawing(width: float, height: float, title: str, description: str, *shapes: str) -> Markup:
    """An SVG that says to a screen reader what it shows and what can be read from it.

    A chart shrinks with the page but does not grow beyond ``width`` pixels.
    """
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *shapes,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
        aria_label=f"{title}. {description}",
    )


def figure(title: str, chart: Markup, kind: str) -> Markup:
    """A chart below its title; ``kind`` is its class."""
    return element("figure", element("figcaption", title), chart, class_=kind)


def section(title: str, *content: str, reading: str = "", id_: str | None = None) -> Markup:
    """A part of the page; ``reading`` says in plain words what its charts show."""
    paragraph = [element("p", reading, class_="reading")] if reading else []
    return element("section", element("h2", title), *paragraph, *content, id=id_)


def grid(figures: Iterable[Markup]) -> Markup:
    """Figures side by side where the page is wide enough."""
    return element("div", *figures, class_="grid")


def legend(entries: Iterable[tuple[Markup, str]]) -> Markup:
    """Signs and what they stand for; a list of HTML, so that long names wrap."""
    items = (element("li", sign, element("span", text)) for sign, text in entries)
    return element("ul", *items, class_="legend")


def sign(*shapes: str) -> Markup:
    """A small drawing for a legend, 24 by 14 pixels."""
    return element(
        "svg",
        joined(shapes),
        xmlns="http://www.w3.org/2000/svg",
        viewBox="0 0 24 14",
        width="24",
        height="14",
        aria_hidden="true",
    )
