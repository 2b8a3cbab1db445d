from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from asr.decode.prefetch import ThreadPool, map_threads


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_results_come_in_the_order_of_the_items(num_threads: int) -> None:
    def square(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    found = list(map_threads(square, range(20), ThreadPool(num_threads, "test")))
    assert found == [item * item for item in range(20)]


def test_items_are_worked_on_at_once() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(item: int) -> int:
        both.wait()
        return item

    assert list(map_threads(meet, range(4), ThreadPool(2, "test"))) == [0, 1, 2, 3]


def test_items_are_drawn_as_they_are_needed() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for item in range(100):
            drawn += 1
            yield item

    results = map_threads(str, items(), ThreadPool(2, "test"))
    assert next(results) == "0"
    assert drawn == 4
    results.close()


def test_threads_are_kept_from_call_to_call() -> None:
    pool = ThreadPool(1, "test")
    first, second = (
        list(map_threads(lambda _: threading.get_ident(), range(3), pool)) for _ in range(2)
    )
    assert first == second
    assert len({*first, threading.get_ident()}) == 2


def test_nothing_is_in_progress_after_the_end() -> None:
    done = []

    def work(item: int) -> None:
        time.sleep(0.1)
        done.append(item)

    results = map_threads(work, range(9), ThreadPool(2, "test"))
    next(results)
    results.close()
    found = len(done)
    time.sleep(0.3)
    assert len(done) == found < 9


def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_threads(lambda item: 1 // item, [1, 0, 1], ThreadPool(2, "test")))
