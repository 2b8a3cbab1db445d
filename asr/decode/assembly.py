"""Stitching the labels of chunks to those of whole recordings, as the chunks are done.

Neighbouring chunks may overlap. A seam in the overlap decides which chunk each frame is taken from.

Shape legend: T frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from asr.errors import InputError
from asr.types import Labels


@dataclass(frozen=True, slots=True)
class LabelledAudio:
    """The frame labels of a whole recording; no word continues across a frame in ``borders``."""

    labels: Labels
    duration_s: float
    borders: tuple[int, ...] = ()


def seam(before_T: Tensor, after_T: Tensor) -> int:
    """Return the number of frames of an overlap that are taken from the first chunk.

    The seam is the middle of the longest run of frames on which both chunks agree, searched in the
    middle half of the overlap; among equally long runs, the one nearest the middle. Collapsing then
    neither loses nor repeats a token, since the labels around the seam are adjacent in both chunks.
    If the chunks agree nowhere, the seam is the middle of the overlap.
    """
    num_frames = len(before_T)
    middle = num_frames // 2
    first = num_frames // 4
    agreed = (before_T == after_T)[first : num_frames - first].tolist()
    best, best_rank = middle, (0, 0)
    run = 0
    for frame, same in enumerate(agreed, start=first + 1):
        run = run + 1 if same else 0
        centre = frame - run // 2
        rank = (run, -abs(centre - middle))
        if run and rank > best_rank:
            best, best_rank = centre, rank
    return best


@dataclass(slots=True)
class _PartialRecording:
    """The labels of a recording so far.

    Attributes:
        starts: first frame of each chunk, in order.
        waiting: labels of chunks that are done but not settled, by start.
        settled: final labels of the first ``num_frames`` frames, in parts.
        num_settled: number of chunks whose labels are final.
        num_yielded: number of parts of ``settled`` that were yielded.
        end: length in seconds, or the error that ended the recording; None before its end.
    """

    starts: list[int] = field(default_factory=list)
    waiting: dict[int, Labels] = field(default_factory=dict)
    settled: list[Labels] = field(default_factory=list)
    num_settled: int = 0
    num_frames: int = 0
    num_yielded: int = 0
    end: float | InputError | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the recording has ended and all of its chunks are done."""
        has_failed = isinstance(self.end, InputError)
        return has_failed or (self.end is not None and self.num_settled == len(self.starts))

    def settle(self, blanks: Callable[[int], Labels]) -> None:
        """Make chunks final, in order, while they and the chunks that overlap them are done.

        Frames in no chunk are blank.
        """
        while self.num_settled < len(self.starts):
            start = self.starts[self.num_settled]
            labels = self.waiting.get(start)
            stop = self._stop(start, labels) if labels is not None else None
            if labels is None or stop is None:
                return
            if start > self.num_frames:
                self.settled.append(blanks(start - self.num_frames))
                self.num_frames = start
            self.settled.append(labels[self.num_frames - start : stop - start])
            self.num_frames = stop
            self.num_settled += 1
            del self.waiting[start]

    def _stop(self, start: int, labels: Labels) -> int | None:
        """Return the end frame of the next chunk to settle; None if not known yet."""
        stop = start + len(labels)
        if self.num_settled + 1 == len(self.starts):
            return None if self.end is None else stop
        following = self.starts[self.num_settled + 1]
        if following >= stop:
            return stop
        after = self.waiting.get(following)
        if after is None:
            return None
        overlap = stop - following
        found = seam(labels.first_ids()[len(labels) - overlap :], after.first_ids()[:overlap])
        return max(self.num_frames, following + found)  # more than two chunks may overlap


class Assembly:
    """A collector of chunk labels into recordings, which are numbered from 0.

    ``blanks`` makes the labels of frames that were skipped.
    """

    def __init__(self, blanks: Callable[[int], Labels]) -> None:
        self._blanks = blanks
        self._recordings: defaultdict[int, _PartialRecording] = defaultdict(_PartialRecording)
        self._next = 0

    def expect_chunk(self, index: int, start: int) -> None:
        """Note that recording ``index`` has one more chunk, which begins at frame ``start``."""
        self._recordings[index].starts.append(start)

    def end(self, index: int, end: float | InputError) -> None:
        """Note that recording ``index`` has ended: its length in seconds, or the error."""
        self._recordings[index].end = end

    def add(self, index: int, start: int, labels: Labels) -> None:
        """Add the labels of the chunk of recording ``index`` that begins at frame ``start``."""
        if index >= self._next:  # else the recording failed after this chunk
            self._recordings[index].waiting[start] = labels
            self._recordings[index].settle(self._blanks)

    def settled(self) -> Iterator[tuple[int, Labels]]:
        """Yield recordings' numbers with their next final labels.

        The labels of a recording come in order, each frame once.
        """
        for index, recording in self._recordings.items():
            recording.settle(self._blanks)
            for labels in recording.settled[recording.num_yielded :]:
                yield index, labels
            recording.num_yielded = len(recording.settled)

    def finished(self) -> Iterator[LabelledAudio | InputError]:
        """Yield the recordings that have become complete, each once and in order."""
        while (recording := self._recordings.get(self._next)) is not None:
            recording.settle(self._blanks)
            end = recording.end
            if end is None or not recording.is_complete:
                return
            del self._recordings[self._next]
            self._next += 1
            if isinstance(end, InputError):
                yield end
                continue
            first, *others = recording.settled or [self._blanks(1)]
            yield LabelledAudio(first.joined(others), end)
