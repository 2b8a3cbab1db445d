"""Suggestions for words that were mistyped."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_LIKE = 0.6  # similarity from which a word is worth a mention
_TIE = 0.06  # candidates this close to the best are mentioned beside it


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``"; did you mean a or b?"`` for the candidates nearest to ``word``, or an empty string."""
    near = nearest(word, candidates)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def nearest(word: str, candidates: Iterable[str]) -> list[str]:
    """Up to three candidates that look like ``word``, the likest first."""
    likeness = {
        candidate: SequenceMatcher(None, word.lower(), candidate.lower()).ratio()
        for candidate in candidates
    }
    bar = max(_LIKE, max(likeness.values(), default=0.0) - _TIE)
    near = [candidate for candidate in likeness if likeness[candidate] >= bar]
    return sorted(near, key=lambda candidate: -likeness[candidate])[:3]
