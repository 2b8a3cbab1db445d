from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from asr.decode.prefetch import map_threads


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_results_come_in_the_order_of_the_items(num_threads: int) -> None:
    def square(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    found = list(map_threads(square, range(20), num_threads=num_threads))
    assert found == [item * item for item in range(20)]


def test_items_are_worked_on_at_once() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(item: int) -> int:
        both.wait()
        return item

    assert list(map_threads(meet, range(4), num_threads=2)) == [0, 1, 2, 3]


def test_items_are_drawn_as_they_are_needed() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for item in range(100):
            drawn += 1
            yield item

    results = map_threads(str, items(), num_threads=2)
    assert next(results) == "0"
    assert drawn == 4
    results.close()


def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_threads(lambda item: 1 // item, [1, 0, 1], num_threads=2))
