"""Long audio in overlapping chunks, cut while it is read.

Every chunk sees some seconds of its neighbours, so that a frame can be read with context on both
sides; `asr.decode.stitching` decides which of two chunks has the say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.types import InputError


@dataclass(frozen=True, slots=True)
class Chunk:
    """``samples`` (N,) to encode; ``start`` counts encoder frames from the start of the audio."""

    start: int
    samples: NDArray[np.float32]


class Chunking:
    """How audio is cut.

    Args:
        chunk_s: the longest piece; audio no longer than that is one chunk.
        overlap_s: what neighbours share.
        window_samples, shift_samples: of the features.
        subsampling_factor: feature frames per encoder frame.
        sample_rate_hz: of the audio.

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

    def __call__(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Chunk]:
        """The chunks of the audio whose successive samples are ``blocks``; at least one.

        A chunk comes as soon as it is known that another one follows.
        """
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
        """Samples of its frames, without those that only its last window reaches into."""
        return max(1, len(chunk.samples) - self._lookahead_samples)

    def num_frames(self, chunk: Chunk) -> int:
        """Encoder frames of a chunk."""
        later = max(0, len(chunk.samples) - self._window_samples) // self._shift_samples
        return later // self._subsampling_factor + 1
