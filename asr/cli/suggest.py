"""Suggestions for words that were mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``"; did you mean a or b?"`` for the candidates nearest to ``word``, or an empty string.

    Dotted keys whose last part equals that of ``word`` come first: people remember the name of
    a setting and forget its section.
    """
    known = list(dict.fromkeys(candidates))
    leaf = word.rpartition(".")[2]
    same_leaf = [key for key in known if key.rpartition(".")[2] == leaf]
    similar = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    found = list(dict.fromkeys([*same_leaf, *similar]))[:3]
    return f"; did you mean {' or '.join(found)}?" if found else ""
