"""The frame of a page: one file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from asr.report.html.markup import Markup, element


def document(title: str, *body: str, style: Markup, script: Markup | None = None) -> str:
    """A page; its security policy lets the browser load nothing and run nothing but ``script``."""
    policy = f"default-src 'none'; style-src {digest(style)}"
    if script is not None:
        policy += f"; script-src {digest(script)}"
        body = (*body, element("script", script))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', *body), lang='en')}\n"


def asset(package: str, name: str) -> Markup:
    """A file of ``package``, taken as it is."""
    return Markup(resources.files(package).joinpath(name).read_text(encoding="utf-8"))


def digest(text: str) -> str:
    """The text's hash in the words of a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
