"""Named, versioned rules for spelling references and hypotheses before they are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from asr.errors import InputError, check_installed
from asr.text.normalize import TranscriptNormalizer

SCORINGS = ("model", "none", "basic", "whisper")
"""``model``: as the model's transcripts are spelt; ``none``: as given; ``basic``: lower case, no
punctuation, no event marks; ``whisper``: Whisper's rules for English (Radford et al. 2023, appendix
C), which also unify spellings of numbers, titles and contractions."""

_LIBRARY = "whisper_normalizer"


@dataclass(frozen=True, slots=True)
class Scoring:
    """A scoring rule: its name in records, and how it spells both sides."""

    name: str
    reference: Callable[[str], str]
    hypothesis: Callable[[str], str]


def scoring(name: str, normalizer: TranscriptNormalizer) -> Scoring:
    """Return one of `SCORINGS`, for a model with this normaliser of transcripts.

    Raises:
        InputError: an unknown name, or a missing library.
    """
    if name == "model":
        return Scoring(f"as the model spells ({normalizer.name})", normalizer, str)
    if name == "none":
        return Scoring("as given", _spaced, _spaced)
    if name == "basic":
        basic = TranscriptNormalizer(case="lower", punctuation="drop", events="drop")
        return Scoring(f"basic 1 ({basic.name})", basic, basic)
    if name != "whisper":
        raise InputError(f"scoring {name!r}: allowed: {', '.join(SCORINGS)}")
    check_installed("scoring by Whisper's rules", (_LIBRARY,), extra="scoring")
    from whisper_normalizer.english import EnglishTextNormalizer

    whisper = EnglishTextNormalizer()
    return Scoring(f"Whisper's English ({_LIBRARY} {version(_LIBRARY)})", whisper, whisper)


def _spaced(text: str) -> str:
    return " ".join(text.split())
