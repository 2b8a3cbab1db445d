"""Panels of which one shows at a time, chosen without any script."""

from __future__ import annotations

from collections.abc import Mapping

from asr.report.html.markup import Markup, element


def choice(name: str, question: str, panels: Mapping[str, Markup], chosen: str) -> Markup:
    """Radio buttons with the keys of ``panels`` as labels; a single panel has no buttons."""
    if len(panels) == 1:
        return next(iter(panels.values()))
    parts = [element("legend", question)]
    for number, (label, panel) in enumerate(panels.items()):
        id_ = f"{name}-{number}"
        parts += [
            element("input", type="radio", name=name, id=id_, checked=label == chosen),
            element("label", label, for_=id_),
            element("div", panel, class_="panel"),
        ]
    return element("fieldset", *parts, class_="choice")
