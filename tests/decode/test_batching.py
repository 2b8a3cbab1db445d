from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from asr.decode.prefetch import batches_by_length

lengths = st.lists(st.integers(1, 30), max_size=60)


def batches(items: list[tuple[int, int]], max_length: int, max_waiting: int) -> list[list[int]]:
    found = batches_by_length(
        iter(items), lambda item: item[1], max_length=max_length, max_waiting=max_waiting
    )
    return [[index for index, _ in batch] for batch in found]


@given(lengths=lengths, max_length=st.integers(1, 90), max_waiting=st.integers(1, 200))
def test_every_item_once_in_batches_no_longer_than_allowed(
    lengths: list[int], max_length: int, max_waiting: int
) -> None:
    found = batches(list(enumerate(lengths)), max_length, max_waiting)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert len(batch) == 1 or padded <= max_length
        assert 2 * min(lengths[index] for index in batch) >= padded / len(batch)


def test_items_of_a_length_come_together() -> None:
    items = list(enumerate([1, 9, 1, 9, 1, 9]))
    assert batches(items, 18, 100) == [[1, 3], [5], [0, 2, 4]]
    assert batches(items, 27, 100) == [[1, 3, 5], [0, 2, 4]]


def test_the_batch_with_the_first_item_comes_first_on_request() -> None:
    items = list(enumerate([1, 9, 1, 9, 1, 9]))
    found = batches_by_length(
        iter(items), lambda item: item[1], max_length=18, max_waiting=100, first_come=True
    )
    assert [[index for index, _ in batch] for batch in found] == [[0, 2, 4], [1, 3], [5]]


def test_no_more_items_are_drawn_than_may_wait() -> None:
    drawn = 0

    def items() -> Iterator[tuple[int, int]]:
        nonlocal drawn
        for index in range(100):
            drawn += 1
            yield index, 5

    found = batches_by_length(items(), lambda item: item[1], max_length=10, max_waiting=20)
    assert next(found) == [(0, 5), (1, 5)]
    assert drawn == 4
