"""Parallel decoding: prefetch audio in threads, map batches over threads, sort into batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event
from typing import TypeVar

T = TypeVar("T")
ItemSource = Callable[[], Iterator[T]]

_HELD = 1  # items of a source waiting in its queue, beside the one its thread is adding
_PATIENCE_S = 0.1


@dataclass(frozen=True, slots=True)
class _End:
    """The end of a source, or the error that ended it."""

    error: BaseException | None


def prefetch(
    sources: Iterable[ItemSource[T]], *, num_threads: int
) -> Generator[tuple[int, T], None, None]:
    """Yield the items of all sources, source after source, each with the number of its source.

    ``num_threads`` sources are read at once, each at most two items ahead, so memory is bounded for
    any length. An error of a source is raised when its turn comes.
    """
    given_up = Event()
    waiting: deque[Queue[T | _End]] = deque()
    remaining = iter(sources)
    index = 0
    with ThreadPoolExecutor(num_threads, thread_name_prefix="read") as pool:
        try:
            while True:
                while len(waiting) < num_threads and (source := next(remaining, None)):
                    waiting.append(Queue(_HELD))
                    pool.submit(_read, source, waiting[-1], given_up)
                if not waiting:
                    return
                while not isinstance(item := waiting[0].get(), _End):
                    yield index, item
                if item.error is not None:
                    raise item.error
                waiting.popleft()
                index += 1
        finally:
            given_up.set()


def _read(source: ItemSource[T], queue: Queue[T | _End], given_up: Event) -> None:
    error: BaseException | None = None
    try:
        for item in source():
            if not _put(queue, item, given_up):
                return
    except BaseException as raised:
        error = raised
    _put(queue, _End(error), given_up)


def _put(queue: Queue[T | _End], item: T | _End, given_up: Event) -> bool:
    """Add to the queue; return False if the reader has given up."""
    while not given_up.is_set():
        try:
            queue.put(item, timeout=_PATIENCE_S)
        except Full:
            continue
        return True
    return False


class ThreadPool(ThreadPoolExecutor):
    """Threads that are started when they are first needed, and kept until the pool is dropped.

    New threads for every call cost a server up to a tenth of its time (recipes/LOG.md).
    """

    def __init__(self, num_threads: int, name: str) -> None:
        super().__init__(num_threads, thread_name_prefix=name)
        self.num_threads = num_threads


Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(
    function: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPool
) -> Generator[Result, None, None]:
    """Map ``function`` in the threads of a pool, lazily; yield results in the order of ``items``.

    At most two items per thread are in progress or waiting. None is in progress after the end.
    """
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) == 2 * pool.num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        wait(pending)


def batches_by_length(
    items: Iterable[T],
    length: Callable[[T], int],
    *,
    max_length: int,
    max_waiting: int,
    first_come: bool = False,
) -> Generator[list[T], None, None]:
    """Yield batches of at most ``max_length`` with padding; a longer item is its own batch.

    No item is padded to more than twice its length. Items are collected until their lengths add up
    to ``max_waiting``, then sorted; a larger value gives less padding. Batches depend only on the
    items and their order. Long items come first; with ``first_come``, the batch with the first
    item.
    """
    waiting: list[T] = []
    num_waiting = 0
    for item in items:
        waiting.append(item)
        num_waiting += length(item)
        if num_waiting >= max_waiting:
            yield from _sorted_batches(waiting, length, max_length, first_come)
            waiting, num_waiting = [], 0
    yield from _sorted_batches(waiting, length, max_length, first_come)


def _sorted_batches(
    items: list[T], length: Callable[[T], int], max_length: int, first_come: bool
) -> list[list[T]]:
    """Sort batches from long to short, or by their first item; equal lengths keep their order."""
    batches: list[list[int]] = []
    for place in sorted(range(len(items)), key=lambda place: length(items[place]), reverse=True):
        if batches:
            longest, own = length(items[batches[-1][0]]), length(items[place])
            if (len(batches[-1]) + 1) * longest <= max_length and 2 * own >= longest:
                batches[-1].append(place)
                continue
        batches.append([place])
    if first_come:
        batches.sort(key=min)
    return [[items[place] for place in batch] for batch in batches]
