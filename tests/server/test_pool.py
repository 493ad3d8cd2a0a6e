from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from threading import Event

import pytest
from fastapi import Request
from starlette.types import Message
from tests.server.conftest import BOUNDARY, form

from extd.server.app import Answer
from extd.server.limits import Limits, RequestError
from extd.server.pool import Pool
from extd.server.uploads import read_uploads


async def forever() -> None:
    await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def run(test: Callable[[Pool, Event], Awaitable[None]], seconds: float = 1000.0) -> None:
    """Run a test with a pool of one thread and one place to wait, and what ends its work."""

    async def start() -> None:
        pool, done = Pool(1, Limits(timeout=seconds, queue=1)), Event()
        try:
            await test(pool, done)
        finally:
            done.set()
            await until(lambda: pool.taken == 0)
        assert not pool.close()

    asyncio.run(start())


def test_results_keep_their_order() -> None:
    async def check(pool: Pool, done: Event) -> None:
        async with pool.slot() as slot:
            assert await pool.run([lambda: 1, lambda: 2, lambda: 3], slot, forever()) == [1, 2, 3]

    run(check)


def test_a_request_beyond_the_queue_is_refused() -> None:
    async def check(pool: Pool, done: Event) -> None:
        async with pool.slot(), pool.slot():
            assert pool.full
            with pytest.raises(RequestError) as caught:
                async with pool.slot():
                    pass
        assert caught.value.status == HTTPStatus.TOO_MANY_REQUESTS
        assert not pool.full

    run(check)


@pytest.mark.parametrize("reason", ["gone", "late"])
def test_work_that_nobody_waits_for_keeps_its_slot_until_it_ends(reason: str) -> None:
    begun, other = Event(), Event()

    async def gone() -> None:
        await until(begun.is_set)
        if reason == "late":
            await forever()

    async def check(pool: Pool, done: Event) -> None:
        def work() -> None:
            begun.set()
            done.wait()

        with pytest.raises(RequestError) as caught:
            async with pool.slot() as slot:
                await pool.run([work, other.set], slot, gone())
        status = HTTPStatus.BAD_REQUEST if reason == "gone" else HTTPStatus.SERVICE_UNAVAILABLE
        assert caught.value.status == status
        assert slot.abandoned.is_set()
        await asyncio.sleep(0.01)
        assert pool.taken == 1
        done.set()
        await until(lambda: pool.taken == 0)
        # What had not begun never will.
        assert not other.is_set()

    run(check, 1000.0 if reason == "gone" else 1.0)


def test_closing_tells_whether_a_thread_still_works() -> None:
    async def check(pool: Pool, done: Event) -> None:
        begun = Event()

        def work() -> None:
            begun.set()
            done.wait()

        async with pool.slot() as slot:
            task = asyncio.create_task(pool.run([work], slot, forever()))
            await until(begun.is_set)
            assert pool.close()
            done.set()
            await task

    run(check)


def test_a_form_is_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file is written")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    large = b"x" * 5_000_000
    body = form({"a.jpg": large, "b.jpg": b"y"})

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def check() -> None:
        headers = [(b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())]
        request = Request({"type": "http", "headers": headers, "method": "POST"}, receive)
        deadline = asyncio.get_running_loop().time() + 100
        first, second = await read_uploads(request, Limits(), deadline)
        assert (first.name, first.data, second.data) == ("a.jpg", large, b"y")

    asyncio.run(check())


def test_a_client_that_takes_no_data_is_given_up_without_an_error() -> None:
    sent: list[str] = []

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def send(message: Message) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await forever()

    asyncio.run(Answer(b"image", "image/png", 0.01)({"type": "http"}, receive, send))
    assert sent == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("name", Limits.__slots__)
@pytest.mark.parametrize("value", [0, math.nan, math.inf])
def test_limits_are_checked(name: str, value: float) -> None:
    option = name.replace("_", "-")
    with pytest.raises(ValueError, match=f"--{option} is {value}; give a number of 1 or more"):
        Limits(**{name: value})
