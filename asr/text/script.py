"""Scripts without spaces between words, and the display width of text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_UNSPACED = re.compile(
    "[\u0e01-\u0e5b\u0e80-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai to Khmer
    "\u2e80-\u2fd5\u3001-\u303f\uff01-\uff0f\uff1a-\uff20"  # and signs, East Asian
    "\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"  # kana, ideographs
    "\uf900-\ufaff\uff66-\uff9d\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)


def is_unspaced(text: str) -> bool:
    """Return whether most of ``text`` is in a script without spaces, such as Chinese or Thai."""
    found = len(_UNSPACED.findall(text))
    return 2 * found > sum(unicodedata.category(one)[0] in "LM" for one in text) if found else False


def counted_in(texts: Iterable[str]) -> str:
    """Return the unit of errors: "words", or "characters" in scripts without spaces."""
    return "characters" if is_unspaced("".join(texts)) else "words"


def width(text: str) -> int:
    """Return the terminal columns of ``text``: wide characters take two, combining marks none."""
    return sum(
        0
        if unicodedata.category(one) in ("Mn", "Me", "Cf")
        else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )
