"""Splitting long audio into chunks, at pauses or with an overlap."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from asr.decode.pauses import PauseCutter
from asr.decode.vad import WINDOW_S, SpeechDetector
from asr.errors import InputError


@dataclass(frozen=True, slots=True)
class Chunk:
    """``samples`` (N,) to encode; ``start`` counts encoder frames from the start of the audio."""

    start: int
    samples: NDArray[np.float32]


class Chunking:
    """A splitter of long audio into chunks: at pauses, or with an overlap if there are none.

    Args:
        chunk_s: most seconds of a chunk; shorter audio is one chunk.
        overlap_s: seconds shared by neighbouring chunks.
        window_samples, shift_samples: window and shift of the features.
        subsampling_factor: feature frames per encoder frame.
        sample_rate_hz: rate of the audio.
        vad: finds the pauses to cut at and the silence to skip; None: all chunks overlap.

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
        vad: SpeechDetector | None = None,
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
        self._vad = vad
        self._cutter = PauseCutter(
            max_frames=num_frames,
            overlap_frames=num_frames - self._step_frames,
            frame_shift_s=self.frame_shift_s,
        )

    def __call__(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Chunk]:
        """Yield the chunks of audio that arrives in ``blocks`` of samples.

        A chunk is yielded as soon as it is known that another one follows. If audio is cut at
        pauses, long audio without speech has no chunks.
        """
        if self._vad is None:
            yield from self._overlapping(blocks)
            return
        remaining = iter(blocks)
        held: list[NDArray[np.float32]] = []
        num_held = 0
        for block in remaining:
            held.append(block)
            num_held += len(block)
            if num_held >= self._one_more_frame:
                yield from self._between_pauses(chain(held, remaining), self._vad)
                return
        yield Chunk(0, np.concatenate(held))

    def _between_pauses(
        self, blocks: Iterable[NDArray[np.float32]], vad: SpeechDetector
    ) -> Iterator[Chunk]:
        frame_samples = self._samples_per_frame
        samples = np.empty(0, dtype=np.float32)
        speech_T = np.empty(0, dtype=np.bool_)
        start = covered = 0  # first frame of the samples; frames of them in the last chunk
        windows: deque[NDArray[np.float32]] = deque()

        def noted() -> Iterator[NDArray[np.float32]]:
            for window in _windows(
                blocks, frame_samples * max(1, round(WINDOW_S / self.frame_shift_s))
            ):
                windows.append(window)
                yield window

        detected = vad(noted(), frame_samples)
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
                    first = self._cutter.leading_silence(speech_T)
                    samples, speech_T = samples[first * frame_samples :], speech_T[first:]
                    start += first
                if not speech_T.any() or not (has_ended or len(speech_T) >= self._cutter.num_ahead):
                    break
                end, first, covered = self._cutter.next_piece(speech_T, covered=covered)
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
        """Return the number of samples of a chunk's frames, without the last window's lookahead."""
        return max(1, len(chunk.samples) - self._lookahead_samples)

    def num_frames(self, chunk: Chunk) -> int:
        """Return the number of encoder frames of a chunk."""
        later = max(0, len(chunk.samples) - self._window_samples) // self._shift_samples
        return later // self._subsampling_factor + 1


def _windows(
    blocks: Iterable[NDArray[np.float32]], num_samples: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of ``blocks`` in windows of equal length; the last may be shorter."""
    held = np.empty(0, dtype=np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= num_samples:
            yield held[:num_samples]
            held = held[num_samples:]
    if len(held):
        yield held
