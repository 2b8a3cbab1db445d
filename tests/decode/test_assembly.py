from __future__ import annotations

import torch

from asr.decode.assembly import Assembly, LabelledAudio
from asr.decode.greedy import FrameLabels, GreedyDecoder
from asr.errors import InputError


def labels(*ids: int) -> FrameLabels:
    return FrameLabels(torch.zeros(len(ids)), torch.tensor(ids))


def ids_of(found: list[LabelledAudio | InputError]) -> list[list[int] | str]:
    return [
        str(one) if isinstance(one, InputError) else one.labels.first_ids().tolist()
        for one in found
    ]


def test_a_recording_waits_for_its_chunks_and_for_those_before_it() -> None:
    assembly = Assembly(GreedyDecoder().blanks)
    for index, start in ((0, 0), (0, 2), (1, 0)):
        assembly.expect_chunk(index, start)
    assembly.add(0, 2, labels(3, 4))
    assembly.add(1, 0, labels(5))
    assembly.end(1, 0.04)
    assert not list(assembly.finished())
    assembly.add(0, 0, labels(1, 2))
    assert not list(assembly.finished()), "more chunks may come"
    assembly.end(0, 0.16)
    found = list(assembly.finished())
    assert ids_of(found) == [[1, 2, 3, 4], [5]]
    assert [one.duration_s for one in found if isinstance(one, LabelledAudio)] == [0.16, 0.04]
    assert not list(assembly.finished())


def test_what_was_read_of_an_unreadable_recording_is_dropped() -> None:
    assembly = Assembly(GreedyDecoder().blanks)
    assembly.expect_chunk(0, 0)
    assembly.end(0, InputError("a.wav: damaged"))
    assembly.expect_chunk(1, 0)
    assembly.end(1, 0.04)
    assert ids_of(list(assembly.finished())) == ["a.wav: damaged"]
    assembly.add(0, 0, labels(9))
    assembly.add(1, 0, labels(5))
    assert ids_of(list(assembly.finished())) == [[5]]
