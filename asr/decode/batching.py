"""Chunks to batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batches_by_length(
    items: Iterable[T], length: Callable[[T], int], *, max_length: int, max_waiting: int
) -> Generator[list[T], None, None]:
    """Batches of at most ``max_length``, padding counted; an item longer than that is alone.

    No item is padded to more than twice its length.

    Items wait until ``max_waiting`` of them, counted by length, can be sorted: the more, the less
    padding. Batches depend on nothing but the items and their order.
    """
    waiting: list[T] = []
    num_waiting = 0
    for item in items:
        waiting.append(item)
        num_waiting += length(item)
        if num_waiting >= max_waiting:
            yield from _sorted_batches(waiting, length, max_length)
            waiting, num_waiting = [], 0
    yield from _sorted_batches(waiting, length, max_length)


def _sorted_batches(
    items: list[T], length: Callable[[T], int], max_length: int
) -> Iterator[list[T]]:
    """From long to short; items of equal length in their order."""
    batch: list[T] = []
    for item in sorted(items, key=length, reverse=True):
        if batch:
            longest = length(batch[0])
            if (len(batch) + 1) * longest > max_length or 2 * length(item) < longest:
                yield batch
                batch = []
        batch.append(item)
    if batch:
        yield batch
