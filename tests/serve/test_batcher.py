from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from asr.decode.early_words import FinalWords
from asr.decode.greedy import TimedWord
from asr.decode.transcript import Transcript
from asr.errors import InputError, RunError
from asr.serve.batcher import Batcher, FullError, QueuedRecording


class FakeTranscriber:
    """Transcribes names to themselves, once it may; keeps what it got at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.turns: list[list[str]] = []

    def each(
        self,
        recordings: Iterable[Any],
        *,
        heard: Callable[[FinalWords], None] | None = None,
        is_wanted: Callable[[int], bool] = lambda number: True,
    ) -> Iterator[Any]:
        names = list(recordings)
        self.turns.append(names)
        assert self.go.wait(30)
        for number, name in enumerate(names):
            if heard is not None:
                heard(FinalWords(number, None, (TimedWord(name, 0.0, 1.0),)))
            if not is_wanted(number):
                yield InputError("dropped")
                continue
            if name == "broken":
                raise ValueError("out of order")
            if name == "bad":
                yield InputError("bad: no audio")
            else:
                yield (Transcript(name, 1.0, name, ()),)


def job(name: str, duration_s: float = 1.0, hotwords: tuple[str, ...] = ()) -> QueuedRecording:
    return QueuedRecording(name, duration_s, hotwords)


@pytest.fixture
def fake() -> FakeTranscriber:
    return FakeTranscriber()


@pytest.fixture
def batcher(fake: FakeTranscriber) -> Iterator[Batcher]:
    batcher = Batcher(lambda hotwords: fake, max_waiting=4)  # type: ignore[arg-type,return-value]
    first = job("first")
    batcher.submit(first)
    while not fake.turns:  # it is in hand
        pass
    yield batcher
    fake.go.set()
    batcher.close()


def test_what_waits_is_transcribed_together_the_shortest_first(
    batcher: Batcher, fake: FakeTranscriber
) -> None:
    jobs = [job("long", 9.0), job("short", 1.0), job("other", 1.0, ("word",)), job("bad")]
    for one in jobs:
        batcher.submit(one)
    assert batcher.num_waiting == 4
    with pytest.raises(FullError) as full:
        batcher.submit(job("more"))
    assert full.value.retry_after_s >= 1
    fake.go.set()
    assert jobs[0].future.result(30).text == "long"
    assert jobs[2].future.result(30).text == "other"
    with pytest.raises(InputError, match="bad: no audio"):
        jobs[3].future.result(30)
    assert fake.turns == [["first"], ["short", "bad", "long"], ["other"]]
    counts = batcher.counts
    assert (counts.num_done, counts.num_failed, counts.num_refused) == (4, 1, 1)


def test_nobody_waits_for_ever(batcher: Batcher, fake: FakeTranscriber) -> None:
    jobs = [job("one", 1.0), job("broken", 2.0), job("three", 3.0)]
    for one in jobs:
        batcher.submit(one)
    fake.go.set()
    assert jobs[0].future.result(30).text == "one"
    for one in jobs[1:]:
        with pytest.raises(RunError, match=r"failed \(out of order\)"):
            one.future.result(30)
    later = job("later")
    batcher.submit(later)
    assert later.future.result(30).text == "later"


def test_who_has_left_is_left_out(batcher: Batcher, fake: FakeTranscriber) -> None:
    gone, here = job("gone"), job("here")
    batcher.submit(gone)
    batcher.submit(here)
    assert gone.future.cancel()
    fake.go.set()
    assert here.future.result(30).text == "here"
    assert fake.turns == [["first"], ["here"]]


def test_words_come_before_the_transcript_and_to_whom_they_belong(
    batcher: Batcher, fake: FakeTranscriber
) -> None:
    said: list[str] = []
    one, other = job("one"), job("other")
    one.heard = lambda words: said.extend(word.word for word in words)
    for each in (one, other):
        batcher.submit(each)
    fake.go.set()
    assert other.future.result(30).text == "other"
    assert said == ["one"]


def test_a_job_in_hand_that_is_dropped_ends(batcher: Batcher, fake: FakeTranscriber) -> None:
    gone, here = job("gone"), job("here")
    for each in (gone, here):
        batcher.submit(each)
    while fake.turns == [["first"]]:
        fake.go.set()
        gone.drop()
    assert here.future.result(30).text == "here"
    assert gone.future.done()
    assert batcher.counts.num_failed == 0


def test_what_was_accepted_is_done_before_the_end(batcher: Batcher, fake: FakeTranscriber) -> None:
    last = job("last")
    batcher.submit(last)
    fake.go.set()
    batcher.close()
    assert last.future.result(0).text == "last"
    with pytest.raises(FullError):
        batcher.submit(job("late"))
