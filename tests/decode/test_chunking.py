from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from asr.decode.chunking import Chunk, chunks


@st.composite
def settings(draw: st.DrawFn) -> tuple[int, int, int]:
    """Frames of the audio, of a chunk and of the overlap."""
    chunk_frames = draw(st.integers(1, 40))
    overlap_frames = draw(st.integers(0, chunk_frames - 1))
    return draw(st.integers(1, 400)), chunk_frames, overlap_frames


def cover(num_frames: int, chunk_frames: int, overlap_frames: int) -> list[Chunk]:
    return list(chunks(num_frames, chunk_frames=chunk_frames, overlap_frames=overlap_frames))


@given(settings())
def test_every_frame_is_kept_once_and_in_order(setting: tuple[int, int, int]) -> None:
    found = cover(*setting)
    kept = [frame for chunk in found for frame in range(chunk.keep_from, chunk.keep_to)]
    assert kept == list(range(setting[0]))


@given(settings())
def test_a_chunk_computes_what_it_keeps_and_no_more_than_allowed(
    setting: tuple[int, int, int],
) -> None:
    num_frames, chunk_frames, _ = setting
    for chunk in cover(*setting):
        assert 0 <= chunk.start <= chunk.keep_from < chunk.keep_to <= chunk.stop <= num_frames
        assert chunk.stop - chunk.start <= chunk_frames


@given(settings())
def test_both_sides_of_a_cut_have_half_the_overlap_as_context(
    setting: tuple[int, int, int],
) -> None:
    _, _, overlap_frames = setting
    found = cover(*setting)
    for before, after in itertools.pairwise(found):
        assert before.stop - after.start == overlap_frames
        assert after.keep_from - after.start == overlap_frames // 2
        assert before.stop - before.keep_to == overlap_frames - overlap_frames // 2


def test_audio_no_longer_than_a_chunk_is_one_chunk() -> None:
    assert cover(1, 10, 4) == [Chunk(0, 1, 0, 1)]
    assert cover(10, 10, 4) == [Chunk(0, 10, 0, 10)]
    assert cover(11, 10, 4) == [Chunk(0, 10, 0, 8), Chunk(6, 11, 8, 11)]
