"""Words of recordings that are not whole yet, as soon as nothing can change them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import inf
from typing import Any, cast

from asr.decode.greedy import TimedWord, timed_words
from asr.decode.search import Search
from asr.text.tokenizer import Tokenizer
from asr.types import Labels


@dataclass(frozen=True, slots=True)
class HeardWords:
    """The next ``words`` of the recording of this number, or of a ``channel`` of it."""

    recording: int
    channel: int | None
    words: tuple[TimedWord, ...]


@dataclass(slots=True)
class _Held:
    """Labels from frame ``first`` on, of whose words the first ``num_told`` were told."""

    labels: Labels | None = None
    first: int = 0
    num_told: int = 0


class EarlyWords:
    """Reads stretches of labels, and gives each word once.

    The last word so far may go on in the next stretch, so it waits for the word behind it. The
    words are those of the whole labels, with the same times.
    """

    def __init__(self, search: Search, tokenizer: Tokenizer, frame_shift_s: float) -> None:
        self._search = search
        self._tokenizer = tokenizer
        self._frame_shift_s = frame_shift_s
        self._held: defaultdict[int, _Held] = defaultdict(_Held)

    def take(self, index: int, labels: Labels) -> tuple[TimedWord, ...]:
        """The words that the next stretch of labels completes, of the labels numbered ``index``."""
        held = self._held[index]
        if held.labels is not None:
            labels = held.labels.joined([labels])
        found = self._search.collapse(cast(Any, labels))
        words = timed_words(
            self._tokenizer.pieces(found.token_ids),
            [held.first + frame for frame in found.token_frames],
            [held.first + frame for frame in found.token_ends],
            self._frame_shift_s,
            inf,
            found.token_scores,
        )
        told = tuple(words[held.num_told : -1])
        held.labels = labels
        held.num_told += len(told)
        if told:
            start = round(words[-1].start_s / self._frame_shift_s) - held.first
            if found.token_frames.count(start) == 1:  # else the word before it ends there, too
                held.labels, held.first, held.num_told = labels[start:], held.first + start, 0
        return told

    def drop(self, index: int) -> None:
        """Forget labels that are whole."""
        self._held.pop(index, None)
