"""Words with times from emitted tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WORD_START = "\u2581"  # sentencepiece marks the first piece of a word with it


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word; times in seconds from the start of the audio.

    CTC emits a token at one frame, usually late in its sound, so times are good to about 0.1 s.
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
        if words and not piece.startswith(WORD_START):
            latest = words.pop()
            words.append(TimedWord(latest.word + text, latest.start_s, end_s))
        else:
            words.append(TimedWord(text, start_s, end_s))
    return [word for word in words if word.word]
