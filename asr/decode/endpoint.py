"""Where the segments of a stream end, and what the search reads in each.

A stream is cut into segments at its pauses. The search reads a segment once it has ended; until
then the text so far is that of the best path, which for a greedy search is the text that stays.

Shape legend: T frames, X what the head gives of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor

from asr.decode.greedy import FrameLabels, GreedyDecoder
from asr.decode.search import Search
from asr.ranges import Range, in_ranges
from asr.types import Hypothesis, Labels

Pause = Annotated[float, Range(0, 3600, above=True)]


@in_ranges("endpoint")
@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """When a segment ends: rules in seconds, after those of Kaldi.

    It ends ``pause_s`` behind its last token. Without a token, audio ``nothing_s`` ago is
    forgotten. A segment of ``longest_s`` ends before its last word.
    """

    pause_s: Pause = 1.2
    nothing_s: Pause = 2.4
    longest_s: Pause = 20.0


NOTHING = Hypothesis((), (), (), 0.0)


@dataclass(slots=True)
class OpenSegment:
    """What was heard since the last segment ended; it begins at frame ``first``.

    ``path`` is the best path, of a head without one what the search found, ``spelt`` what it
    spells.
    """

    first: int = 0
    outputs: list[Tensor] = field(default_factory=list)
    num_frames: int = 0
    path: Labels | None = None
    spelt: Hypothesis = NOTHING


class SegmentReader:
    """Reads the output of the head for one stream, segment by segment.

    ``done`` are the labels of the segments that have ended, in order. Of a head with CTC the first
    ``vocab_size`` outputs of a frame are its log probabilities.
    """

    def __init__(
        self, search: Search, endpoint: Endpoint, *, frame_shift_s: float, vocab_size: int
    ) -> None:
        self.search = search
        self.endpoint = endpoint
        self.frame_shift_s = frame_shift_s
        self.vocab_size = vocab_size
        self.segment = OpenSegment()
        self.done: list[Labels] = []
        self._best_path = GreedyDecoder() if isinstance(search, GreedyDecoder) else None
        self._spelling: Search = self._best_path or search

    def take(self, outputs_TX: Tensor) -> list[tuple[int, Labels]]:
        """Read more frames; the segments that end by them, with their first frames."""
        self._add(outputs_TX)
        ended = []
        while (num_frames := self._first_end()) is not None:
            ended.append(self._cut(num_frames))
        segment = self.segment
        if not segment.spelt.token_ids and segment.num_frames >= self._frames(
            self.endpoint.nothing_s
        ):
            self.done.append(self.search.blanks(segment.num_frames))
            self.segment = OpenSegment(segment.first + segment.num_frames)
        return ended

    def end(self) -> list[tuple[int, Labels]]:
        """The stream is over: the segment that was going on, if there is one."""
        return [self._cut(self.segment.num_frames)] if self.segment.num_frames else []

    def _add(self, outputs_TX: Tensor) -> None:
        """Put frames behind those of the segment."""
        segment = self.segment
        segment.outputs.append(outputs_TX)
        segment.num_frames += len(outputs_TX)
        if self._best_path is None:
            segment.path = labels_of_stream(self.search, torch.cat(segment.outputs))
        else:
            num_B = torch.tensor([len(outputs_TX)])
            (path,) = self._best_path.label(outputs_TX[None, :, : self.vocab_size], num_B)
            before = segment.path
            segment.path = before.joined([path]) if isinstance(before, FrameLabels) else path
        segment.spelt = self._spelling.collapse(segment.path)

    def _first_end(self) -> int | None:
        """How many frames of the segment are before its first end; None where it goes on."""
        found = self.segment.spelt
        if not found.token_ids:
            return None
        num_frames, pause = self.segment.num_frames, self._frames(self.endpoint.pause_s)
        for end, following in zip(
            found.token_ends, (*found.token_frames[1:], num_frames), strict=True
        ):
            if following - end >= pause:
                return end + pause
        if num_frames >= self._frames(self.endpoint.longest_s):
            return found.token_frames[-1] or num_frames
        return None

    def _frames(self, length_s: float) -> int:
        return max(1, round(length_s / self.frame_shift_s))

    def _cut(self, num_frames: int) -> tuple[int, Labels]:
        """End the segment behind its first ``num_frames`` frames."""
        segment = self.segment
        outputs_TX = torch.cat(segment.outputs)
        labels = labels_of_stream(self.search, outputs_TX[:num_frames])
        self.done.append(labels)
        self.segment = OpenSegment(segment.first + num_frames)
        if num_frames < len(outputs_TX):
            self._add(outputs_TX[num_frames:])
        return segment.first, labels


def labels_of_stream(search: Search, outputs_TX: Tensor) -> Labels:
    """What a search finds in the frames of one stream."""
    return search.label(outputs_TX[None], torch.tensor([len(outputs_TX)]))[0]
