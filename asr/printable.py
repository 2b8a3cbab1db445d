"""Text of strangers, such as file names, made fit to be shown on a terminal."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: object, *, keep: str = "") -> str:
    """The text with control characters, and bytes that are no text, escaped as in ``\\x1b``.

    Without it a file name can hold a line end, or colour and clear the reader's terminal. Those of
    ``keep`` stay.
    """
    shown = _CONTROL.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(),
        str(text),
    )
    return shown.encode("utf-8", "backslashreplace").decode()
