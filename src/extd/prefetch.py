"""Prefetching: threads work ahead on the next items while the current one is used."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MIN_THREADS = 2
"""One thread can read while another waits for the disk."""
MAX_THREADS = 1024


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


def cores() -> int:
    """How many cores this process may use; `taskset` and job schedulers can restrict them."""
    # Only Linux has it.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def check_threads(threads: int, name: str = "threads") -> None:
    """Refuse an impossible number of threads, which the message calls `name`."""
    if not 0 <= threads <= MAX_THREADS:
        raise ValueError(
            f"{name} is {threads}; give 0 for one a core, or how many, up to {MAX_THREADS}"
        )
