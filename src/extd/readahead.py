"""Work on many items, done by threads ahead of need."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 2
"""Least threads: one can read while another waits for a disk."""
MOST_THREADS = 1024


def read_ahead(
    items: Iterable[Item],
    function: Callable[[Item], Result],
    threads: int,
) -> Generator[tuple[Item, Result | ValueError | OSError], None, None]:
    """Every item with what `function` makes of it, in their order, some of them ahead of need.

    A ValueError or OSError of `function`, as of a broken file, comes in place of its result, and
    the others go on; any other error ends the iterator. When it ends, is closed or interrupted,
    no item is begun any more, and the threads are gone.

    Args:
        items: what there is to do; one more than there are threads is taken ahead, so that memory
            does not grow with their number.
        function: called in any of the threads.
        threads: how many work at a time; at least 2 do.
    """
    threads = max(threads, THREADS)

    def attempt(item: Item) -> Result | ValueError | OSError:
        try:
            return function(item)
        except (ValueError, OSError) as error:
            return error

    waiting: deque[tuple[Item, Future[Result | ValueError | OSError]]] = deque()
    pool = ThreadPoolExecutor(threads, "extd-read")
    try:
        for item in items:
            waiting.append((item, pool.submit(attempt, item)))
            if len(waiting) > threads + 1:
                yield _next(waiting)
        while waiting:
            yield _next(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """How many cores this process may use: `taskset` and job schedulers leave it some of all."""
    # Linux alone has it.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def check_threads(threads: int, name: str = "threads") -> None:
    """Refuse a number of threads that cannot be; the message calls it `name`.

    Raises:
        ValueError: it is below 0, which is one a core, or too large.
    """
    if not 0 <= threads <= MOST_THREADS:
        raise ValueError(
            f"{name} is {threads}; give 0 for one a core, or how many, up to {MOST_THREADS}"
        )


def _next(waiting: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    """The first that waits, once it is done. The generator itself would hold it meanwhile."""
    item, future = waiting.popleft()
    return item, future.result()
