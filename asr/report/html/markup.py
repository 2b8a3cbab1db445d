"""Elements of HTML and SVG in which every text is escaped.

A ``str`` is a text and is escaped; only `Markup`, which `element` and `joined` make, is taken as
it is. What is written is well-formed XML as well as HTML.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_VOID = frozenset({"input", "meta"})  # HTML elements without content and end tag
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Value = str | float | bool | None


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: Value) -> Markup:
    """``<tag attributes>children</tag>``.

    ``class_`` is ``class`` and ``stroke_width`` is ``stroke-width``. Attributes that are None or
    False are left out, True stands for its own name, numbers keep two decimals.
    """
    written = "".join(
        f' {_name(key)}="{_attribute(_name(key), value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        assert not children
        return Markup(f"<{tag}{written} />")
    return Markup(f"<{tag}{written}>{joined(children)}</{tag}>")


def joined(children: Iterable[str]) -> Markup:
    """The children one after the other, texts escaped."""
    return Markup("".join(c if isinstance(c, Markup) else escaped(c) for c in children))


def escaped(text: str) -> Markup:
    """A text for content or a quoted attribute; characters XML cannot hold become U+FFFD."""
    return Markup(html.escape(_NOT_XML.sub("\ufffd", text)))


def _name(key: str) -> str:
    if key in {"viewBox", "preserveAspectRatio"}:
        return key
    return key.rstrip("_").replace("_", "-")


def _attribute(name: str, value: Value) -> str:
    if value is True:
        return name
    if isinstance(value, float):
        return f"{round(value, 2):g}" if abs(value) < 1e5 else f"{value:.2f}"
    return escaped(str(value))
