"""Prefetching: threads work ahead on the next items while the current one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from extd.cpu import check_threads, cores

Item = TypeVar("Item")
Result = TypeVar("Result")

MIN_THREADS = 2
"""One thread can read while another waits for the disk."""


def prefetch(
    items: Iterable[Item], function: Callable[[Item], Result], threads: int = 0
) -> Generator[tuple[Item, Result | ValueError | OSError], None, None]:
    """Yield each item with its result, in order, computing a few of them ahead of need.

    Items are taken lazily, at most one per thread ahead of the consumer. A ValueError or OSError,
    as from a broken file, takes the place of the result; any other error ends the iteration. When
    the generator ends or is closed, no further item is started, and its threads are gone.

    Raises:
        ValueError: `threads` is negative or too large; 0 means one per core, at least 2 work.
    """
    check_threads(threads)
    threads = max(threads or cores(), MIN_THREADS)

    def attempt(item: Item) -> Result | ValueError | OSError:
        try:
            return function(item)
        except (ValueError, OSError) as error:
            return error

    def pop() -> tuple[Item, Result | ValueError | OSError]:
        # In a function, or the generator would hold on to the result.
        item, future = pending.popleft()
        return item, future.result()

    pending: deque[tuple[Item, Future[Result | ValueError | OSError]]] = deque()
    pool = ThreadPoolExecutor(threads, "extd-prefetch")
    try:
        for item in items:
            pending.append((item, pool.submit(attempt, item)))
            if len(pending) > threads:
                yield pop()
        while pending:
            yield pop()
    finally:
        pool.shutdown(cancel_futures=True)
