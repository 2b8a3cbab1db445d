"""Normalisation of transcripts, with the same rules for training targets and WER scoring.

Characters that look alike become one: apostrophes, dashes, wide, narrow and ligature letters. Signs
that Unicode's NFKC would turn into other words (² ½ ™ ㎏) stay as they are. Invisible characters
(zero width, soft hyphen, direction marks) are dropped.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Literal, get_args

from asr.errors import InputError

Case = Literal["upper", "lower", "keep"]
Punctuation = Literal["keep", "drop"]
Events = Literal["drop", "keep", "words"]

_WORD_MARK = "\u2581"  # stands for the space inside sentencepiece models
_APOSTROPHES = (
    "\u0060\u00b4\u02b9\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u0384\u055a\u05f3\u1fbd\u1fbf\u1fef"
    "\u1ffd\u2018\u2019\u201b\u2032\u2035\u275b\u275c\ua78b\ua78c\uff07\uff40"
)
_DASHES = "\u02d7\u058a\u05be\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d"
_SHAPES = ("<wide>", "<narrow>", "<isolated>", "<initial>", "<medial>", "<final>", "<noBreak>")

# Arabic, Indic and other scripts spell with joiners between letters.
_JOINING = "\u0600-\u0fff\u1000-\u109f\u1780-\u18af"
_INVISIBLE = re.compile(
    rf"(?<![{_JOINING}])[\u200c\u200d]|[\u200c\u200d](?![{_JOINING}])|"
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)

_BRACKETED = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}|<[/!]?[^\W\d][^<>]*>")
_PARENTHESES = re.compile(r"\([^()]*\)")
_EVENT_WORDS = re.compile(
    r"\b(laugh|chuckl|giggl|cough|breath|inhal|exhal|sigh|sniff|sneez|yawn|gasp|groan|sob|cry(ing)?\b"
    r"|clears?\b|throat|applau|clap|cheer|music|nois|silen|paus|inaudib|unintelligib|indistinct"
    r"|unclear|crosstalk|cross-talk|overlap|static|click|beep|ring(s|ing)?\b|whistl|hum(s|ming)?\b"
    r"|hesitat|background|foreign|unk\b|spn\b|sil\b|lip|smack|speaking in\b|speaks in\b)",
    re.IGNORECASE,
)


class TranscriptNormalizer:
    """A normaliser that gives a transcript one Unicode form, one case and single spaces.

    ``punctuation="drop"`` turns punctuation and symbols into spaces, except the apostrophe inside a
    word (``DON'T``), as in LibriSpeech. ``events`` applies to marks of events that are not speech
    (``[noise]``, ``<unk>``, ``{breath}``, and parentheses with words of an event, such as
    ``(laughs)``): ``drop`` removes them, ``keep`` keeps them with their brackets, ``words`` makes
    them words.
    """

    def __init__(
        self,
        *,
        case: Case = "upper",
        punctuation: Punctuation = "drop",
        events: Events = "drop",
    ) -> None:
        for key, value, allowed in (
            ("case", case, get_args(Case)),
            ("punctuation", punctuation, get_args(Punctuation)),
            ("events", events, get_args(Events)),
        ):
            if value not in allowed:
                raise InputError(
                    f"text.normalize.{key}: {value!r} is not one of {', '.join(allowed)}"
                )
        self.case = case
        self.punctuation = punctuation
        self.events = events

    @property
    def name(self) -> str:
        """The rules in one line, for reports and records."""
        return f"NFC, case: {self.case}, punctuation: {self.punctuation}, events: {self.events}"

    @property
    def events_fate(self) -> str:
        """What happens to event marks, in words."""
        fates = {"drop": "dropped", "keep": "kept as they are", "words": "taken as words"}
        return f"{fates[self.events]} (text.normalize.events={self.events})"

    def __call__(self, text: str) -> str:
        """Normalise a text; normalising the result again changes nothing."""
        if not text.isascii() or not text.isprintable():
            text = drop_invisible(text)
        if self.case == "upper":
            text = text.upper()
        elif self.case == "lower":
            text = text.lower()
        text = text.replace("`", "'")
        if not text.isascii():
            text = unicodedata.normalize("NFC", text.translate(_ALIKE))
            text = drop_invisible(text)  # invisible characters that case or folding made
        if self.punctuation == "drop" and _is_plain(text):
            return " ".join(text.split())
        return " ".join(self._without_signs(text).split())

    def _without_signs(self, text: str) -> str:
        if self.events == "drop":
            text = without_events(text)
        if self.punctuation == "keep":
            return text
        if self.events == "keep":
            parts = _split_events(text)
            return "".join(
                f" {part} " if is_event else _without_punctuation(part) for part, is_event in parts
            )
        return _without_punctuation(text)


def drop_invisible(text: str) -> str:
    """Remove invisible characters."""
    while (shown := _INVISIBLE.sub("", text)) != text:  # a joiner may have lost its neighbour
        text = shown
    return text


def count_invisible(text: str) -> int:
    """Count the characters that :func:`drop_invisible` removes."""
    return 0 if text.isascii() and text.isprintable() else len(text) - len(drop_invisible(text))


def find_events(text: str) -> Counter[str]:
    """Count the event marks of a text."""
    if not any(bracket in text for bracket in "[{<(\uff3b\uff1c\uff5b\uff08"):
        return Counter()
    text = text.translate(_ALIKE)
    return Counter(part for part, is_event in _split_events(text) if is_event)


def without_events(text: str) -> str:
    """Replace event marks by spaces."""
    while True:
        left = "".join(" " if is_event else part for part, is_event in _split_events(text))
        if left == text:
            return text
        text = left


def _split_events(text: str) -> list[tuple[str, bool]]:
    """Split the text into parts; return each with whether it is an event mark."""
    spans = [match.span() for match in _BRACKETED.finditer(text)]
    spans += [
        match.span() for match in _PARENTHESES.finditer(text) if _EVENT_WORDS.search(match[0])
    ]
    parts: list[tuple[str, bool]] = []
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            parts += [(text[end:start], False), (text[start:stop], True)]
            end = stop
    return [*parts, (text[end:], False)]


class _Alike(dict[int, str]):
    """A lazy table for ``str.translate``: each character's usual form."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        shape, _, spelt = unicodedata.decomposition(character).partition(" ")
        folds = shape in _SHAPES or (shape == "<compat>" and 0xFB00 <= code <= 0xFB4F)
        found = unicodedata.normalize("NFKC", character) if folds and spelt else character
        self[code] = found
        return found


_ALIKE = _Alike(
    {
        **dict.fromkeys(map(ord, _APOSTROPHES), "'"),
        **dict.fromkeys(map(ord, _DASHES), "-"),
        ord(_WORD_MARK): " ",
    }
)


def _is_plain(text: str) -> bool:
    """Return whether ASCII text has only letters, digits and single apostrophes inside words."""
    return text.isascii() and (
        text.replace(" ", "").isalnum()
        or all(part.isalnum() for word in text.split() for part in word.split("'"))
    )


def _without_punctuation(text: str) -> str:
    kinds = [unicodedata.category(character)[0] for character in text]
    in_word = [kind in "LMN" for kind in kinds]  # letters, marks and numbers
    in_word.append(False)  # the neighbour of the last character and, at index -1, of the first
    return "".join(
        " "
        if kind in "PS" and not (character == "'" and in_word[index - 1] and in_word[index + 1])
        else character
        for index, (character, kind) in enumerate(zip(text, kinds, strict=True))
    )
