"""Endpoint detection: cutting a stream into segments at pauses, and searching each segment.

The search runs on a segment once it has ended. Until then the partial text is that of the best
path; for a greedy search this is also the final text.

Shape legend: T frames, X head outputs per frame.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor

from asr.decode.online import OnlineSearch, online_search
from asr.decode.search import Search
from asr.ranges import Range, in_ranges
from asr.types import Hypothesis, Labels

Pause = Annotated[float, Range(0, 3600, above=True)]


@in_ranges("endpoint")
@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Rules in seconds for the end of a segment, similar to Kaldi's.

    A segment ends ``pause_s`` after its last token. Without a token, audio older than
    ``nothing_s`` is dropped. A segment of ``longest_s`` ends before its last word.
    """

    pause_s: Pause = 1.2
    nothing_s: Pause = 2.4
    longest_s: Pause = 20.0


NOTHING = Hypothesis((), (), (), 0.0)


@dataclass(slots=True)
class OpenSegment:
    """The frames since the last segment ended; the first is frame ``first``.

    ``spelt`` is the hypothesis that decides where the segment ends.
    """

    first: int
    search: OnlineSearch
    outputs: list[Tensor] = field(default_factory=list)
    num_frames: int = 0
    spelt: Hypothesis = NOTHING

    def advance(self, outputs_TX: Tensor) -> None:
        """Search more frames of the segment."""
        self.search.advance(outputs_TX)
        self.outputs.append(outputs_TX)
        self.num_frames += len(outputs_TX)
        self.spelt = self.search.path()


class SegmentReader:
    """A reader of one stream's head outputs, segment by segment.

    ``done`` holds the labels of the ended segments, in order. If the head has CTC, the first
    ``vocab_size`` outputs of a frame are CTC log probabilities. ``word_starts`` are the tokens that
    begin a word; None: all do.
    """

    def __init__(
        self,
        search: Search,
        endpoint: Endpoint,
        *,
        frame_shift_s: float,
        vocab_size: int,
        word_starts: Collection[int] | None = None,
    ) -> None:
        self.search = search
        self.endpoint = endpoint
        self.frame_shift_s = frame_shift_s
        self.vocab_size = vocab_size
        self.word_starts = word_starts
        self.segment = self._opened(0)
        self.done: list[Labels] = []

    def take(self, outputs_TX: Tensor) -> list[tuple[int, Labels]]:
        """Read more frames; return the segments that end in them, each with its first frame."""
        ended = self._read(outputs_TX)
        while (num_frames := self._end_of_long()) is not None:
            ended += self._cut(num_frames)
        segment = self.segment
        if not segment.spelt.token_ids and segment.num_frames >= self._frames(
            self.endpoint.nothing_s
        ):
            self.done.append(self.search.blanks(segment.num_frames))
            self.segment = self._opened(segment.first + segment.num_frames)
        return ended

    def partial(self) -> Hypothesis:
        """Return the best hypothesis of the open segment."""
        return self.segment.search.best() if self.segment.num_frames else NOTHING

    def end(self) -> list[tuple[int, Labels]]:
        """End the stream; return the open segment, if there is one."""
        return self._cut(self.segment.num_frames) if self.segment.num_frames else []

    def reopen(self, first: int, outputs: Iterable[Tensor]) -> None:
        """Continue a segment that begins at frame ``first`` after reading ``outputs`` of it."""
        self.segment = self._opened(first)
        for outputs_TX in outputs:
            self.segment.advance(outputs_TX)

    def _opened(self, first: int) -> OpenSegment:
        return OpenSegment(first, online_search(self.search, self.vocab_size))

    def _read(self, outputs_TX: Tensor) -> list[tuple[int, Labels]]:
        """Search frames and end segments in pauses.

        A step ends where the current pause would end the segment. So the search has read exactly
        the frames of the segment when it ends.
        """
        ended: list[tuple[int, Labels]] = []
        pause = self._frames(self.endpoint.pause_s)
        while len(outputs_TX):
            segment = self.segment
            since = segment.spelt.token_ends[-1] if segment.spelt.token_ends else segment.num_frames
            most = max(1, since + pause - segment.num_frames)
            segment.advance(outputs_TX[:most])
            outputs_TX = outputs_TX[most:]
            while (num_frames := self._end_in_pause(pause)) is not None:
                ended += self._cut(num_frames)
        return ended

    def _end_in_pause(self, pause: int) -> int | None:
        """Return the number of frames before the end in a pause; None if there is no such end."""
        found = self.segment.spelt
        following = (*found.token_frames[1:], self.segment.num_frames)
        for end, until in zip(found.token_ends, following, strict=False):
            if until - end >= pause:
                return end + pause
        return None

    def _end_of_long(self) -> int | None:
        """Return the number of frames before the last word if a segment is too long, or None."""
        found, num_frames = self.segment.spelt, self.segment.num_frames
        if not found.token_ids or num_frames < self._frames(self.endpoint.longest_s):
            return None
        begins = self.word_starts
        for token, frame in zip(found.token_ids[::-1], found.token_frames[::-1], strict=True):
            if frame and (begins is None or token in begins):
                return frame
        return found.token_frames[-1] or num_frames

    def _frames(self, length_s: float) -> int:
        return max(1, round(length_s / self.frame_shift_s))

    def _cut(self, num_frames: int) -> list[tuple[int, Labels]]:
        """End the segment after ``num_frames`` frames; return it and others that end after it."""
        segment = self.segment
        labels = segment.search.labels(num_frames)
        self.done.append(labels)
        self.segment = self._opened(segment.first + num_frames)
        ended = [(segment.first, labels)]
        if num_frames < segment.num_frames:
            ended += self._read(torch.cat(segment.outputs)[num_frames:])
        return ended
