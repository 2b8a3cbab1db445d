"""Words with times from emitted tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from asr.text.script import is_unspaced

WORD_START = "\u2581"  # sentencepiece marks the first piece of a word with it
SOUND_S = 0.04
"""How long a word sounds on behind the last frame of its last token."""
_NEVER_FIRST = ("Mn", "Mc", "Me", "Pe", "Pf", "Po")  # marks, closing brackets, full stops


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word; times in seconds from the start of the audio.

    In scripts without spaces between words it is the characters of one token. CTC emits a token at
    a few frames within its sound, so times are good to about 0.1 s.
    """

    word: str
    start_s: float
    end_s: float


def timed_words(
    pieces: Sequence[str],
    frames: Sequence[int],
    ends: Sequence[int],
    frame_shift_s: float,
    duration_s: float,
) -> list[TimedWord]:
    """Group pieces, with their first frames and the frames behind their last, into words.

    A word lasts from its first frame to `SOUND_S` behind its last one, but no longer than to the
    next word or the end of the audio, behind which the last frame may reach.
    """
    words: list[TimedWord] = []
    for piece, frame, end in zip(pieces, frames, ends, strict=True):
        start_s = round(frame * frame_shift_s, 3)
        end_s = round(min(end * frame_shift_s + SOUND_S, duration_s), 3)
        text = piece.removeprefix(WORD_START)
        if words and not piece.startswith(WORD_START) and _continues(words[-1].word, text):
            latest = words.pop()
            words.append(TimedWord(latest.word + text, latest.start_s, end_s))
        else:
            words.append(TimedWord(text, start_s, end_s))
    spelt = [word for word in words if word.word]
    for index, (word, following) in enumerate(pairwise(spelt)):
        spelt[index] = replace(word, end_s=min(word.end_s, following.start_s))
    return spelt


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
