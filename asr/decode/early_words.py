"""Words of unfinished recordings, available as soon as they are final."""

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
class FinalWords:
    """The next final ``words`` of a recording, by its number, or of one ``channel`` of it."""

    recording: int
    channel: int | None
    words: tuple[TimedWord, ...]


@dataclass(slots=True)
class _Held:
    """Labels from frame ``first`` on; the first ``num_returned`` of their words were returned."""

    labels: Labels | None = None
    first: int = 0
    num_returned: int = 0


class EarlyWords:
    """A reader of final labels, part by part, that returns each word once.

    The last word may continue in the next part, so it waits until the next word begins. Words and
    times equal those of the whole labels.
    """

    def __init__(self, search: Search, tokenizer: Tokenizer, frame_shift_s: float) -> None:
        self._search = search
        self._tokenizer = tokenizer
        self._frame_shift_s = frame_shift_s
        self._held: defaultdict[int, _Held] = defaultdict(_Held)

    def take(self, index: int, labels: Labels) -> tuple[TimedWord, ...]:
        """Add the next labels of recording ``index``; return the words that they complete."""
        held = self._held[index]
        if held.labels is not None:
            labels = held.labels.joined([labels])
        found = self._search.collapse(cast(Any, labels))
        words = timed_words(
            self._tokenizer.surfaces(found.token_ids),
            [held.first + frame for frame in found.token_frames],
            [held.first + frame for frame in found.token_ends],
            self._frame_shift_s,
            inf,
            found.token_scores,
        )
        final = tuple(words[held.num_returned : -1])
        held.labels = labels
        held.num_returned += len(final)
        if final:
            start = round(words[-1].start_s / self._frame_shift_s) - held.first
            if found.token_frames.count(start) == 1:  # otherwise the last word ends there too
                held.labels, held.first, held.num_returned = labels[start:], held.first + start, 0
        return final

    def drop(self, index: int) -> None:
        """Forget the labels of a complete recording."""
        self._held.pop(index, None)
