"""Endpoint detection: cutting a stream into segments at pauses, and searching each segment.

The search runs on a segment once it has ended. Until then the partial text is that of the best
path; for a greedy search this is also the final text.

Shape legend: T frames, X head outputs per frame.
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

    ``path`` is the best path, or the search's result if the head has no CTC; ``spelt`` is its
    hypothesis.
    """

    first: int = 0
    outputs: list[Tensor] = field(default_factory=list)
    num_frames: int = 0
    path: Labels | None = None
    spelt: Hypothesis = NOTHING


class SegmentReader:
    """A reader of one stream's head outputs, segment by segment.

    ``done`` holds the labels of the ended segments, in order. If the head has CTC, the first
    ``vocab_size`` outputs of a frame are CTC log probabilities.
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
        """Read more frames; return the segments that end in them, each with its first frame."""
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
        """End the stream; return the open segment, if there is one."""
        return [self._cut(self.segment.num_frames)] if self.segment.num_frames else []

    def _add(self, outputs_TX: Tensor) -> None:
        """Append frames to the segment."""
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
        """Return the number of frames before the segment's end; None if it has not ended."""
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
        """End the segment after its first ``num_frames`` frames."""
        segment = self.segment
        outputs_TX = torch.cat(segment.outputs)
        labels = labels_of_stream(self.search, outputs_TX[:num_frames])
        self.done.append(labels)
        self.segment = OpenSegment(segment.first + num_frames)
        if num_frames < len(outputs_TX):
            self._add(outputs_TX[num_frames:])
        return segment.first, labels


def labels_of_stream(search: Search, outputs_TX: Tensor) -> Labels:
    """Return the labels that a search finds in the frames of one stream."""
    return search.label(outputs_TX[None], torch.tensor([len(outputs_TX)]))[0]
