from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from asr.errors import InputError
from asr.train.stream import DevData, TrainStream
from asr.types import Batch
from tests.train.standin import SAMPLE_RATE_HZ, TinyLoader, make_batch


def test_epochs_follow_each_other_and_positions_lie_behind_their_batch() -> None:
    stream = TrainStream(TinyLoader(3), sample_rate_hz=SAMPLE_RATE_HZ)
    items = list(islice(stream, 5))
    assert [item.batch.utterance_ids[0] for item in items] == [
        "utt-0-0",
        "utt-1-0",
        "utt-2-0",
        "utt-100-0",
        "utt-101-0",
    ]
    assert [item.ends_epoch for item in items] == [False, False, True, False, False]
    assert [item.epoch for item in items] == [0, 0, 0, 1, 1]
    assert [(item.position["epoch"], item.position["batch"]) for item in items] == [
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
    ]
    num_samples = int(items[0].batch.waveform_lengths_B.sum())
    assert items[0].audio_s == num_samples / SAMPLE_RATE_HZ
    assert all(item.wait_s >= 0 for item in items)


@pytest.mark.parametrize("behind", [0, 1, 2, 3])
def test_a_stream_goes_on_behind_any_position(behind: int) -> None:
    whole = list(islice(TrainStream(TinyLoader(3), sample_rate_hz=1), 8))
    position = whole[behind].position
    rest = list(islice(TrainStream(TinyLoader(3), sample_rate_hz=1, position=position), 3))
    assert [item.batch.utterance_ids for item in rest] == [
        item.batch.utterance_ids for item in whole[behind + 1 : behind + 4]
    ]
    assert [item.position for item in rest] == [
        item.position for item in whole[behind + 1 : behind + 4]
    ]


def test_unreadable_batches_are_passed_over() -> None:
    class Gaps(TinyLoader):
        def __iter__(self) -> Iterator[Batch | None]:
            for batch in super().__iter__():
                yield None
                yield batch
                yield None

    items = list(islice(TrainStream(Gaps(2), sample_rate_hz=1), 3))
    assert [item.ends_epoch for item in items] == [False, True, False]


def test_no_data_at_all_is_an_input_error() -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        next(iter(TrainStream(TinyLoader(0), sample_rate_hz=1)))


def test_dev_data_starts_over_every_time() -> None:
    data = DevData(TinyLoader(2, make=make_batch), sample_rate_hz=SAMPLE_RATE_HZ)
    first = [item.batch.utterance_ids for item in data]
    assert len(first) == 2
    assert [item.batch.utterance_ids for item in data] == first
    assert all(item.counts for item in data)
