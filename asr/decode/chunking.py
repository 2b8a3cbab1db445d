"""Long audio: splitting it into overlapping chunks, and stitching the labels of the chunks."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.decode.pauses import WINDOW_S, PauseCutter, energy_speech
from asr.errors import InputError
from asr.types import Labels, LabelsT


@dataclass(frozen=True, slots=True)
class Chunk:
    """``samples`` (N,) to encode; ``start`` counts encoder frames from the start of the audio."""

    start: int
    samples: NDArray[np.float32]


class Chunking:
    """Splits long audio into chunks: in pauses, or overlapping where it has none.

    Args:
        chunk_s: length of a chunk; audio no longer than that is one chunk.
        overlap_s: shared by neighbouring chunks.
        window_samples, shift_samples: of the features.
        subsampling_factor: feature frames per encoder frame.
        sample_rate_hz: of the audio.
        pauses: whether to cut in pauses and skip silence; else all chunks overlap.

    Raises:
        InputError: the chunk has no length, or the overlap is not shorter than the chunk.
    """

    def __init__(
        self,
        *,
        chunk_s: float,
        overlap_s: float,
        window_samples: int,
        shift_samples: int,
        subsampling_factor: int,
        sample_rate_hz: int,
        pauses: bool = False,
    ) -> None:
        if not 0 < chunk_s < math.inf:
            raise InputError(f"chunk of {chunk_s:g} s; allowed: above 0 s")
        if not 0 <= overlap_s < chunk_s:
            raise InputError(
                f"overlap of {overlap_s:g} s; allowed: 0 to below the chunk, {chunk_s:g} s"
            )
        samples_per_frame = shift_samples * subsampling_factor
        self._window_samples, self._shift_samples = window_samples, shift_samples
        self._subsampling_factor = subsampling_factor
        self.frame_shift_s = samples_per_frame / sample_rate_hz
        num_frames = max(1, round(chunk_s / self.frame_shift_s))
        self._step_frames = num_frames - min(round(overlap_s / self.frame_shift_s), num_frames - 1)
        self._step_samples = self._step_frames * samples_per_frame
        covered = num_frames * samples_per_frame
        self._lookahead_samples = max(0, window_samples - shift_samples)
        self._chunk_samples = covered + self._lookahead_samples
        self._one_more_frame = covered + window_samples
        self._samples_per_frame = samples_per_frame
        self._pauses: PauseCutter | None = None
        if pauses:
            self._pauses = PauseCutter(
                max_frames=num_frames,
                overlap_frames=num_frames - self._step_frames,
                frame_shift_s=self.frame_shift_s,
            )

    def __call__(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Chunk]:
        """Yield the chunks of audio that comes in ``blocks`` of samples.

        Audio no longer than a chunk is one chunk. A chunk is yielded as soon as another one is
        known to follow. Long audio without speech has none where chunks are cut in pauses.
        """
        if self._pauses is None:
            yield from self._overlapping(blocks)
            return
        remaining = iter(blocks)
        held: list[NDArray[np.float32]] = []
        num_held = 0
        for block in remaining:
            held.append(block)
            num_held += len(block)
            if num_held >= self._one_more_frame:
                yield from self._between_pauses(chain(held, remaining), self._pauses)
                return
        yield Chunk(0, np.concatenate(held))

    def _between_pauses(
        self, blocks: Iterable[NDArray[np.float32]], cutter: PauseCutter
    ) -> Iterator[Chunk]:
        frame_samples = self._samples_per_frame
        samples = np.empty(0, dtype=np.float32)
        speech_T = np.empty(0, dtype=np.bool_)
        start = covered = 0  # frames: where samples begin, and how many the last chunk has
        windows: deque[NDArray[np.float32]] = deque()

        def noted() -> Iterator[NDArray[np.float32]]:
            for window in _windows(
                blocks, frame_samples * max(1, round(WINDOW_S / self.frame_shift_s))
            ):
                windows.append(window)
                yield window

        detected = energy_speech(noted(), frame_samples)
        has_ended = False
        while not has_ended:
            speech = next(detected, None)
            if speech is None:
                has_ended = True
            else:
                speech_T = np.concatenate([speech_T, speech])
                samples = np.concatenate([samples, windows.popleft()])
            while True:
                if not covered:
                    first = cutter.leading_silence(speech_T)
                    samples, speech_T = samples[first * frame_samples :], speech_T[first:]
                    start += first
                if not speech_T.any() or not (has_ended or len(speech_T) >= cutter.num_ahead):
                    break
                end, first, covered = cutter.next_piece(speech_T, covered=covered)
                if end:
                    stop = end * frame_samples + self._lookahead_samples
                    yield Chunk(start, samples[:stop].copy())
                samples, speech_T = samples[first * frame_samples :], speech_T[first:]
                start += first

    def _overlapping(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Chunk]:
        start = num_held = 0
        held: list[NDArray[np.float32]] = []
        for block in blocks:
            held.append(block)
            num_held += len(block)
            if num_held < self._one_more_frame:
                continue
            samples = np.concatenate(held)
            while len(samples) >= self._one_more_frame:
                yield Chunk(start, samples[: self._chunk_samples].copy())
                start += self._step_frames
                samples = samples[self._step_samples :]
            held, num_held = [samples], len(samples)
        yield Chunk(start, np.concatenate(held))

    def num_own_samples(self, chunk: Chunk) -> int:
        """Number of samples of its frames, without the lookahead of the last window."""
        return max(1, len(chunk.samples) - self._lookahead_samples)

    def num_frames(self, chunk: Chunk) -> int:
        """Number of encoder frames of a chunk."""
        later = max(0, len(chunk.samples) - self._window_samples) // self._shift_samples
        return later // self._subsampling_factor + 1


def _windows(
    blocks: Iterable[NDArray[np.float32]], num_samples: int
) -> Iterator[NDArray[np.float32]]:
    """The samples of ``blocks`` in windows of equal length, of which the last may be shorter."""
    held = np.empty(0, dtype=np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= num_samples:
            yield held[:num_samples]
            held = held[num_samples:]
    if len(held):
        yield held


def without_gaps(
    starts: Sequence[int], labels: Sequence[Labels], blanks: Callable[[int], Labels]
) -> tuple[list[int], list[Labels]]:
    """Starts and labels with ``blanks`` in the frames that no chunk has, up to the last chunk."""
    filled_starts: list[int] = []
    filled: list[Labels] = []
    end = 0
    for start, one in zip(starts, labels, strict=True):
        if start > end:
            filled_starts.append(end)
            filled.append(blanks(start - end))
        filled_starts.append(start)
        filled.append(one)
        end = max(end, start + len(one))
    return filled_starts or [0], filled or [blanks(1)]


def stitch(starts: Sequence[int], labels: Sequence[LabelsT]) -> LabelsT:
    """Join the labels of chunks, which are in order; ``starts`` are their first frames."""
    borders = [0]
    for (start, before), (next_start, after) in pairwise(zip(starts, labels, strict=True)):
        overlap = start + len(before) - next_start
        border = seam(before.first_ids()[len(before) - overlap :], after.first_ids()[:overlap])
        borders.append(max(borders[-1], next_start + border))  # more than two chunks may overlap
    borders.append(starts[-1] + len(labels[-1]))
    kept = [
        one[first - start : last - start]
        for start, one, (first, last) in zip(starts, labels, pairwise(borders), strict=True)
    ]
    return kept[0].joined(kept[1:])


def seam(before_T: Tensor, after_T: Tensor) -> int:
    """The number of frames of an overlap that are taken from the first chunk.

    The seam is the middle of the longest run of frames on which both chunks agree, searched in the
    middle half of the overlap; of equally long runs the one nearest to the middle is taken.
    Collapsing then neither loses nor doubles a token, for the labels left and right of the seam
    follow each other in both chunks. If the chunks agree nowhere, it is the middle of the overlap.
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


@dataclass(frozen=True, slots=True)
class LabelledAudio:
    """The frame labels of a whole recording; words do not go on over the frames ``borders``."""

    labels: Labels
    duration_s: float
    borders: tuple[int, ...] = ()


@dataclass(slots=True)
class _PartialRecording:
    """The labels so far; ``end`` is the length in seconds, or the error that ended it."""

    num_chunks: int = 0
    labels: dict[int, Labels] = field(default_factory=dict)
    end: float | InputError | None = None


class Assembly:
    """Collects the labels of chunks into recordings, which are numbered from 0.

    ``blanks`` makes the labels of frames that were skipped.
    """

    def __init__(self, blanks: Callable[[int], Labels]) -> None:
        self._blanks = blanks
        self._recordings: defaultdict[int, _PartialRecording] = defaultdict(_PartialRecording)
        self._next = 0

    def expect_chunk(self, index: int) -> None:
        """Note that recording ``index`` has one more chunk."""
        self._recordings[index].num_chunks += 1

    def end(self, index: int, end: float | InputError) -> None:
        """Note that recording ``index`` has ended: its length in seconds, or the error."""
        self._recordings[index].end = end

    def add(self, index: int, start: int, labels: Labels) -> None:
        """Add the labels of the chunk of recording ``index`` that begins at frame ``start``."""
        if index >= self._next:  # else the recording failed after this chunk
            self._recordings[index].labels[start] = labels

    def finished(self) -> Iterator[LabelledAudio | InputError]:
        """Yield the recordings that have become complete, each once and in order."""
        while (recording := self._recordings.get(self._next)) is not None:
            end = recording.end
            if end is None:
                return
            if not isinstance(end, InputError):
                if len(recording.labels) < recording.num_chunks:
                    return
                starts = sorted(recording.labels)
                parts = [recording.labels[start] for start in starts]
                labels = stitch(*without_gaps(starts, parts, self._blanks))
            del self._recordings[self._next]
            self._next += 1
            yield end if isinstance(end, InputError) else LabelledAudio(labels, end)
