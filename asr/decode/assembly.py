"""Labels of chunks, which come in any order, to those of recordings, in the order of these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from asr.decode.greedy import FrameLabels
from asr.decode.stitching import stitch
from asr.types import InputError


@dataclass(frozen=True, slots=True)
class LabelledAudio:
    """A recording read to its end."""

    labels: FrameLabels
    duration_s: float


@dataclass(slots=True)
class _Recording:
    """What is known so far; ``end`` is its length in seconds, or why it ended."""

    num_chunks: int = 0
    labels: dict[int, FrameLabels] = field(default_factory=dict)
    end: float | InputError | None = None


class Assembly:
    """Recordings that are not complete; they are numbered from 0."""

    def __init__(self) -> None:
        self._recordings: defaultdict[int, _Recording] = defaultdict(_Recording)
        self._next = 0

    def expect_chunk(self, index: int) -> None:
        """Recording ``index`` has one more chunk."""
        self._recordings[index].num_chunks += 1

    def end(self, index: int, end: float | InputError) -> None:
        """Recording ``index`` has no more chunks: its length in seconds, or what is wrong."""
        self._recordings[index].end = end

    def add(self, index: int, start: int, labels: FrameLabels) -> None:
        """Labels of the chunk of recording ``index`` that begins at frame ``start``."""
        if index >= self._next:  # else it proved unreadable behind this chunk
            self._recordings[index].labels[start] = labels

    def finished(self) -> Iterator[LabelledAudio | InputError]:
        """The recordings that have become complete, each once and none before its predecessor."""
        while (recording := self._recordings.get(self._next)) is not None:
            end = recording.end
            if end is None:
                return
            if not isinstance(end, InputError):
                if len(recording.labels) < recording.num_chunks:
                    return
                starts = sorted(recording.labels)
                labels = stitch(starts, [recording.labels[start] for start in starts])
            del self._recordings[self._next]
            self._next += 1
            yield end if isinstance(end, InputError) else LabelledAudio(labels, end)
