from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.decode.chunking import Chunk, Chunking

SHIFT, FACTOR = 3, 2
FRAME = SHIFT * FACTOR  # samples; at 6 Hz a second


def chunking(chunk_frames: int, overlap_frames: int, window: int) -> Chunking:
    return Chunking(
        chunk_s=chunk_frames,
        overlap_s=overlap_frames,
        window_samples=window,
        shift_samples=SHIFT,
        subsampling_factor=FACTOR,
        sample_rate_hz=FRAME,
    )


def num_frames(num_samples: int, window: int) -> int:
    return -(-(1 + max(0, num_samples - window) // SHIFT) // FACTOR)


@st.composite
def settings(draw: st.DrawFn) -> tuple[int, int, int, list[int]]:
    """Frames of a chunk and of the overlap, samples of a window and of each block."""
    chunk_frames = draw(st.integers(1, 20))
    overlap_frames = draw(st.integers(0, chunk_frames - 1))
    blocks = draw(st.lists(st.integers(0, 200), max_size=6))
    return chunk_frames, overlap_frames, draw(st.integers(2, 40)), [1, *blocks]


def cut(setting: tuple[int, int, int, list[int]]) -> tuple[NDArray[np.float32], list[Chunk]]:
    chunk_frames, overlap_frames, window, sizes = setting
    samples = np.arange(sum(sizes), dtype=np.float32)
    blocks = np.split(samples, np.cumsum(sizes)[:-1])
    return samples, list(chunking(chunk_frames, overlap_frames, window)(blocks))


@given(settings())
def test_chunks_hold_the_samples_of_their_frames(
    setting: tuple[int, int, int, list[int]],
) -> None:
    chunk_frames, overlap_frames, window, _ = setting
    samples, chunks = cut(setting)
    stop = 0
    for before, chunk in itertools.pairwise(chunks):
        assert num_frames(len(before.samples), window) == chunk_frames
        assert chunk.start == before.start + chunk_frames - overlap_frames
    for chunk in chunks:
        first = chunk.start * FRAME
        assert np.array_equal(chunk.samples, samples[first : first + len(chunk.samples)])
        stop = chunk.start + num_frames(len(chunk.samples), window)
    assert chunks[0].start == 0
    assert stop == num_frames(len(samples), window)
    assert num_frames(len(chunks[-1].samples), window) <= chunk_frames


def test_a_chunk_comes_before_the_audio_ends() -> None:
    def blocks() -> Iterator[NDArray[np.float32]]:
        for _ in range(30):
            yield np.zeros(FRAME, np.float32)
        pytest.fail("all of it was read")

    found = chunking(10, 2, 6)(blocks())
    assert [next(found).start for _ in range(2)] == [0, 8]


def test_audio_no_longer_than_a_chunk_is_one_chunk() -> None:
    window = SHIFT
    for frames, starts in ((1, [0]), (10, [0]), (11, [0, 6])):
        _, chunks = cut((10, 4, window, [frames * FRAME]))
        assert [chunk.start for chunk in chunks] == starts


def test_own_samples_are_those_of_the_frames() -> None:
    cutting = chunking(10, 0, 4 + SHIFT)
    chunks = list(cutting([np.zeros(25 * FRAME, np.float32)]))
    assert [cutting.num_own_samples(chunk) for chunk in chunks] == [60, 60, 30 - 4]
    assert cutting.num_own_samples(Chunk(0, np.zeros(2, np.float32))) == 1
