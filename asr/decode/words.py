"""Words with times from emitted tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from asr.text.script import is_unspaced

WORD_START = "\u2581"  # sentencepiece marks the first piece of a word with it
_NEVER_FIRST = ("Mn", "Mc", "Me", "Pe", "Pf", "Po")  # marks, closing brackets, full stops


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word; times in seconds from the start of the audio.

    In scripts without spaces between words it is the characters of one token. CTC emits a token at
    one frame, usually late in its sound, so times are good to about 0.1 s.
    """

    word: str
    start_s: float
    end_s: float


def timed_words(
    pieces: Sequence[str], frames: Sequence[int], frame_shift_s: float, duration_s: float
) -> list[TimedWord]:
    """Group pieces into words; a word lasts from its first to its last emitted frame.

    The last frame may reach behind the audio; no word does.
    """
    words: list[TimedWord] = []
    for piece, frame in zip(pieces, frames, strict=True):
        start_s = round(frame * frame_shift_s, 3)
        end_s = round(min((frame + 1) * frame_shift_s, duration_s), 3)
        text = piece.removeprefix(WORD_START)
        if words and not piece.startswith(WORD_START) and _continues(words[-1].word, text):
            latest = words.pop()
            words.append(TimedWord(latest.word + text, latest.start_s, end_s))
        else:
            words.append(TimedWord(text, start_s, end_s))
    return [word for word in words if word.word]


def join_words(words: Sequence[str]) -> str:
    """One text of words, without spaces where their script has none."""
    text = ""
    for word in words:
        is_close = text and is_unspaced(text[-1]) and is_unspaced(word[0])
        text += word if is_close or not text else f" {word}"
    return text


def _continues(word: str, text: str) -> bool:
    """Whether ``text``, before which no space stands, belongs to the word before it."""
    if not word or not text or unicodedata.category(text[0]) in _NEVER_FIRST:
        return True
    return not (is_unspaced(word[-1]) or is_unspaced(text[0]))
