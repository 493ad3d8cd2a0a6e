"""Work on many pictures at once: decoding and encoding leave the interpreter to other threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from extd.readahead import check_threads, cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int = 0
) -> Iterator[Result]:
    """The results of `work` for every item, in the items' order.

    Few items are taken ahead, so that memory does not grow with their number, and the first error
    ends it.

    Args:
        work: what is done, in any thread.
        items: what it is done with.
        threads: how many at once; 0 for one a core.

    Raises:
        ValueError: `threads` is below 0 or too large.
    """
    check_threads(threads)
    threads = threads or cores()
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
