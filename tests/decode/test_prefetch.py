from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from asr.decode.prefetch import prefetch


def counting(stop: int, seen: list[int]) -> Iterator[int]:
    for item in range(stop):
        seen.append(item)
        yield item


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_items_come_in_the_order_of_the_sources(num_threads: int) -> None:
    sizes = [3, 0, 20, 1, 1, 7]
    sources = [partial(counting, size, []) for size in sizes]
    found = list(prefetch(sources, num_threads=num_threads))
    assert found == [(index, item) for index, size in enumerate(sizes) for item in range(size)]


def test_nothing_is_read_far_ahead() -> None:
    seen: list[list[int]] = [[], [], []]
    sources = [partial(counting, 100, one) for one in seen]
    items = prefetch(sources, num_threads=2)
    for _ in range(10):
        next(items)
    items.close()
    assert 10 <= len(seen[0]) <= 13
    assert len(seen[1]) <= 2
    assert not seen[2]


def test_sources_are_read_at_once() -> None:
    """Each waits for the other, so one thread would never end."""
    both = threading.Barrier(2, timeout=20)

    def source(number: int) -> Iterator[int]:
        both.wait()
        yield number

    assert list(prefetch([partial(source, 7), partial(source, 8)], num_threads=2)) == [
        (0, 7),
        (1, 8),
    ]


def test_an_error_comes_in_its_turn() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    sources: list[Callable[[], Iterator[int]]] = [partial(counting, 2, []), broken]
    items = prefetch(sources, num_threads=2)
    assert [next(items) for _ in range(3)] == [(0, 0), (0, 1), (1, 1)]
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_threads_end_with_the_reader() -> None:
    before = threading.active_count()
    items = prefetch([partial(counting, 100, []) for _ in range(5)], num_threads=3)
    next(items)
    assert threading.active_count() > before
    items.close()
    assert threading.active_count() == before
