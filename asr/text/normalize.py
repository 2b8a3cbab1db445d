"""Transcripts in one spelling: the same rules make training targets and prepare WER scoring."""

from __future__ import annotations

import unicodedata
from typing import Literal, get_args

from asr.types import InputError

Case = Literal["upper", "lower", "keep"]
Punctuation = Literal["keep", "drop"]

_APOSTROPHES = dict.fromkeys(map(ord, "\u2019\u02bc\uff07"), "'")  # typographic, modifier, wide
_WORD_MARK = "\u2581"  # stands for the space inside sentencepiece models


class TranscriptNormalizer:
    """Brings a transcript to Unicode NFC, one case and single spaces.

    ``punctuation="drop"`` turns punctuation and symbols into spaces, except the apostrophe inside
    a word (``DON'T``), which typographic apostrophes become too; this is how LibriSpeech spells.
    """

    def __init__(self, *, case: Case = "upper", punctuation: Punctuation = "drop") -> None:
        for key, value, allowed in (
            ("case", case, get_args(Case)),
            ("punctuation", punctuation, get_args(Punctuation)),
        ):
            if value not in allowed:
                raise InputError(
                    f"text.normalize.{key}: {value!r} is not one of {', '.join(allowed)}"
                )
        self.case = case
        self.punctuation = punctuation

    @property
    def name(self) -> str:
        """The rules in one line, for reports and records."""
        return f"NFC, case: {self.case}, punctuation: {self.punctuation}"

    def __call__(self, text: str) -> str:
        """The normalised text; normalising it again changes nothing."""
        if self.case == "upper":
            text = text.upper()
        elif self.case == "lower":
            text = text.lower()
        if not text.isascii():
            text = unicodedata.normalize("NFC", text).replace(_WORD_MARK, " ")
        if self.punctuation == "drop" and not _is_plain(text):
            text = _without_punctuation(text)
        return " ".join(text.split())


def _is_plain(text: str) -> bool:
    """Whether ASCII text has only letters, digits and single apostrophes inside words."""
    return text.isascii() and (
        text.replace(" ", "").isalnum()
        or all(part.isalnum() for word in text.split() for part in word.split("'"))
    )


def _without_punctuation(text: str) -> str:
    text = text.translate(_APOSTROPHES)
    kinds = [unicodedata.category(character)[0] for character in text]
    in_word = [kind in "LMN" for kind in kinds]  # letters, marks and numbers
    in_word.append(False)  # what follows the last character, and at index -1 precedes the first
    return "".join(
        " "
        if kind in "PS" and not (character == "'" and in_word[index - 1] and in_word[index + 1])
        else character
        for index, (character, kind) in enumerate(zip(text, kinds, strict=True))
    )
