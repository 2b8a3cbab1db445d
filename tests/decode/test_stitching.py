from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from asr.decode.assembly import Assembly, LabelledAudio, seam
from asr.decode.greedy import FrameLabels, GreedyDecoder

ids = st.lists(st.integers(0, 2), max_size=40)


def labels(ids_T: list[int] | Tensor, score: float = 0.0) -> FrameLabels:
    ids_T = torch.as_tensor(ids_T, dtype=torch.int64)
    return FrameLabels(torch.full((len(ids_T),), score), ids_T)


def stitch(starts: list[int], pieces: Sequence[FrameLabels]) -> FrameLabels:
    """The labels of a recording with these chunks."""
    assembly = Assembly(GreedyDecoder().blanks)
    for start in starts:
        assembly.expect_chunk(0, start)
    assembly.end(0, 1.0)
    for start, piece in zip(starts, pieces, strict=True):
        assembly.add(0, start, piece)
    (found,) = assembly.finished()
    assert isinstance(found, LabelledAudio)
    assert isinstance(found.labels, FrameLabels)
    return found.labels


def spelled(found: FrameLabels) -> tuple[int, ...]:
    return GreedyDecoder().collapse(found).token_ids


@given(before=ids, data=st.data())
def test_the_seam_has_context_on_both_sides(before: list[int], data: st.DataObject) -> None:
    after = data.draw(st.lists(st.integers(0, 2), min_size=len(before), max_size=len(before)))
    found = seam(torch.tensor(before), torch.tensor(after))
    assert len(before) // 4 <= found <= len(before) - len(before) // 4


def test_the_seam_lies_in_the_longest_agreement() -> None:
    before = torch.tensor([9, 9, 9, 0, 0, 0, 0, 7, 8, 0, 8, 9])
    after = torch.tensor([1, 1, 1, 0, 0, 0, 0, 8, 7, 0, 7, 1])
    assert seam(before, after) == 5


def test_of_equal_agreements_the_nearest_to_the_middle() -> None:
    before, after = torch.zeros(16, dtype=torch.int64), torch.ones(16, dtype=torch.int64)
    after[[4, 9, 11]] = 0
    assert seam(before, after) == 10


def test_without_agreement_the_middle() -> None:
    assert seam(torch.zeros(7), torch.ones(7)) == 3
    assert seam(torch.zeros(0), torch.zeros(0)) == 0


def test_a_token_that_chunks_place_apart_is_written_once() -> None:
    """At the middle frame, 4, one chunk is still to say 5 and the other one has said it."""
    lost = labels([0, 1, 0, 0, 0, 5, 0, 0]), labels([0, 0, 0, 5, 0, 0, 2, 0])
    doubled = labels([0, 1, 0, 5, 0, 0, 0, 0]), labels([0, 0, 0, 0, 0, 5, 2, 0])
    for pair in (lost, doubled):
        fixed = [*pair[0].ids_T[:4].tolist(), *pair[1].ids_T[4:].tolist()]
        assert spelled(labels(fixed)) != (1, 5, 2)
        before = labels([0, *pair[0].ids_T.tolist()])
        assert spelled(stitch([0, 1], (before, pair[1]))) == (1, 5, 2)


@given(
    num_frames=st.integers(1, 200),
    chunk=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_every_frame_comes_once_and_from_a_chunk_that_has_it(
    num_frames: int, chunk: int, seed: int, data: st.DataObject
) -> None:
    """Scores tell where a frame came from, ids are noise."""
    step = chunk - data.draw(st.integers(0, chunk - 1))
    starts = list(range(0, max(1, num_frames - chunk + step), step))
    generator = torch.Generator().manual_seed(seed)
    pieces = []
    for start in starts:
        frames = torch.arange(start, min(start + chunk, num_frames))
        noise = torch.randint(0, 3, (len(frames),), generator=generator)
        pieces.append(FrameLabels(frames.float(), noise))
    found = stitch(starts, pieces)
    assert found.scores_T.tolist() == list(range(num_frames))


@given(path=st.lists(st.integers(0, 2), min_size=1, max_size=100), overlap=st.integers(0, 9))
def test_chunks_that_agree_spell_the_whole(path: list[int], overlap: int) -> None:
    starts = list(range(0, max(1, len(path) - overlap), 10 - overlap))
    found = stitch(starts, [labels(path[start : start + 10]) for start in starts])
    assert found.ids_T.tolist() == path
    assert all(a < b for a, b in itertools.pairwise(starts))


@given(
    path=st.lists(st.integers(0, 3), min_size=1, max_size=100),
    overlap=st.integers(0, 9),
    order=st.randoms(use_true_random=False),
)
def test_stretches_are_the_whole_whatever_is_done_first(
    path: list[int], overlap: int, order: random.Random
) -> None:
    starts = list(range(0, max(1, len(path) - overlap), 10 - overlap))
    whole = stitch(starts, [labels(path[start : start + 10]) for start in starts])
    assembly = Assembly(GreedyDecoder().blanks)
    told: list[int] = []
    expected: list[int] = []
    left = list(starts)
    while left or expected:
        if left and (not expected or order.random() < 0.5):
            assembly.expect_chunk(0, left[0])
            expected.append(left.pop(0))
        else:
            start = expected.pop(order.randrange(len(expected)))
            assembly.add(0, start, labels(path[start : start + 10]))
        told += [one for _, stretch in assembly.settled() for one in stretch.first_ids().tolist()]
        assert told == whole.ids_T[: len(told)].tolist()
    assembly.end(0, 1.0)
    told += [one for _, stretch in assembly.settled() for one in stretch.first_ids().tolist()]
    assert told == whole.ids_T.tolist()
    (found,) = assembly.finished()
    assert isinstance(found, LabelledAudio)
    assert found.labels.first_ids().tolist() == told
