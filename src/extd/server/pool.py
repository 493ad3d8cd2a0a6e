"""`Pool`: threads that work on images, and how many requests may wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event
from typing import Any, TypeVar

from extd.server.limits import Limits, RequestError

Value = TypeVar("Value")


@dataclass(slots=True)
class Slot:
    """The place of a request in the queue.

    Attributes:
        deadline: time of the event loop at which the request is given up.
        abandoned: set once nobody waits for its results any more.
        futures: its work.
    """

    deadline: float
    abandoned: Event = field(default_factory=Event)
    futures: list[Future[Any]] = field(default_factory=list)


class Pool:
    """Threads, each with an image at a time, and the requests that have a slot.

    One thread a core, each of which computes alone, finishes more images than threads that share
    each image.
    """

    def __init__(self, workers: int, limits: Limits) -> None:
        """Start no thread yet; `workers` is how many there will be."""
        self._threads = ThreadPoolExecutor(workers, "extd-worker")
        self._slots = workers + limits.queue
        self._seconds = limits.timeout
        self._releases: set[asyncio.Task[None]] = set()
        self.taken = 0

    @property
    def full(self) -> bool:
        """Whether the next request is refused."""
        return self.taken >= self._slots

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """A slot for a request. It is free again once no thread works for it any more.

        Raises:
            RequestError: the queue is full.
        """
        if self.full:
            detail = f"all {self._slots} slots are taken; try again later"
            raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, detail, {"Retry-After": "1"})
        self.taken += 1
        slot = Slot(asyncio.get_running_loop().time() + self._seconds)
        try:
            yield slot
        finally:
            slot.abandoned.set()
            running = [job for job in slot.futures if not job.cancel() and not job.done()]
            if running:
                task = asyncio.create_task(self._release_after(running))
                self._releases.add(task)
                task.add_done_callback(self._releases.discard)
            else:
                self.taken -= 1

    async def _release_after(self, jobs: Sequence[Future[Any]]) -> None:
        await asyncio.wait([asyncio.wrap_future(job) for job in jobs])
        self.taken -= 1

    async def run(
        self, calls: Sequence[Callable[[], Value]], slot: Slot, gone: Awaitable[object]
    ) -> list[Value]:
        """The results of calls, side by side in the threads, in order.

        Raises:
            RequestError: they take too long, or `gone` was done first: nobody waits any more.
        """
        jobs = [self._threads.submit(call) for call in calls]
        slot.futures += jobs
        everything = asyncio.gather(*map(asyncio.wrap_future, jobs))
        watch = asyncio.ensure_future(gone)
        left = slot.deadline - asyncio.get_running_loop().time()
        try:
            both: set[asyncio.Future[Any]] = {everything, watch}
            await asyncio.wait(both, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if everything.done():
                return everything.result()
            if watch.done():
                raise RequestError(HTTPStatus.BAD_REQUEST, "the client is gone")
            detail = f"not done within {self._seconds:g} s; send fewer or smaller images"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "1"})
        finally:
            watch.cancel()
            everything.cancel()

    def close(self) -> bool:
        """Cancel what has not begun; whether a thread still works, which would delay the exit."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        return self.taken > 0
