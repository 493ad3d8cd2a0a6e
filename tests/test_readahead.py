from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from extd.readahead import cores, read_ahead


def reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("extd-read")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bind no process to cores")
def test_cores_are_those_that_the_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores() == len(before)


def test_results_come_in_the_order_of_the_items() -> None:
    later = threading.Event()

    def work(item: int) -> int:
        # The first takes longest.
        if item == 0:
            assert later.wait(10)
        if item == 2:
            later.set()
        return -item

    assert list(read_ahead(range(9), work, 2)) == [(item, -item) for item in range(9)]
    assert list(read_ahead([], abs, 2)) == []
    assert not reading()


@pytest.mark.parametrize("threads", [2, 5])
def test_no_more_is_taken_ahead_than_may_wait(threads: int) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = read_ahead(endless(), abs, threads)
    assert taken == 0
    for done in range(1, 5):
        next(results)
        assert taken == done + threads + 1
    results.close()
    assert not reading()


def test_what_fails_comes_as_its_error_and_the_rest_goes_on() -> None:
    def work(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        if item == 2:
            raise OSError("two")
        return item

    results = [result for _, result in read_ahead(range(4), work, 2)]
    assert [str(result) for result in results] == ["0", "one", "two", "3"]
    assert [type(result) for result in results] == [int, ValueError, OSError, int]


def test_an_unforeseen_error_ends_it() -> None:
    results = read_ahead(["a", "b"], lambda word: {"a": 1}[word], 2)
    assert next(results) == ("a", 1)
    with pytest.raises(KeyError):
        next(results)
    assert not reading()


def test_ctrl_c_begins_nothing_more() -> None:
    begun: list[int] = []
    results = read_ahead(range(1000), begun.append, 1)

    def consume() -> None:
        for _ in results:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    results.close()
    assert len(begun) <= 4
    assert not reading()
