from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from extd.prefetch import prefetch


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("extd-prefetch")]


def test_results_come_in_the_order_of_the_items() -> None:
    later = threading.Event()

    def work(item: int) -> int:
        # The first takes longest.
        if item == 0:
            assert later.wait(10)
        if item == 2:
            later.set()
        return -item

    assert list(prefetch(range(9), work, 2)) == [(item, -item) for item in range(9)]
    assert list(prefetch([], abs, 2)) == []
    assert not running()


@pytest.mark.parametrize("threads", [2, 5])
def test_a_bounded_number_is_in_flight(threads: int) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = prefetch(endless(), abs, threads)
    assert taken == 0
    for done in range(1, 5):
        next(results)
        assert taken == done + threads
    results.close()
    assert not running()


def test_exceptions_come_at_their_place() -> None:
    def work(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        if item == 2:
            raise OSError("two")
        return item

    results = [result for _, result in prefetch(range(4), work, 2)]
    assert [str(result) for result in results] == ["0", "one", "two", "3"]
    assert [type(result) for result in results] == [int, ValueError, OSError, int]


def test_an_unforeseen_error_ends_it() -> None:
    results = prefetch(["a", "b"], lambda word: {"a": 1}[word], 2)
    assert next(results) == ("a", 1)
    with pytest.raises(KeyError):
        next(results)
    assert not running()


def test_ctrl_c_begins_nothing_more() -> None:
    begun: list[int] = []
    results = prefetch(range(1000), begun.append, 1)

    def consume() -> None:
        for _ in results:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    results.close()
    assert len(begun) <= 4
    assert not running()


@pytest.mark.parametrize("threads", [-1, 1025])
def test_impossible_numbers_of_threads_are_refused(threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}; give 0 for one a core"):
        next(prefetch([1], abs, threads))
