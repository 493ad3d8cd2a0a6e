from __future__ import annotations

import threading
import time

import pytest

from extd.data.threads import in_threads


@pytest.mark.parametrize("threads", [0, 1, 3, 50])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(in_threads(work, range(20), threads)) == [item * item for item in range(20)]


def test_few_items_are_taken_ahead() -> None:
    taken: list[int] = []
    items = (taken.append(item) or item for item in range(1000))
    results = in_threads(abs, items, 2)
    assert next(results) == 0
    assert len(taken) < 10
    results.close()
    assert len(taken) < 10


def test_the_first_error_ends_it() -> None:
    done: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            done.append(item)
        if item == 3:
            raise ValueError("item 3")
        return item

    with pytest.raises(ValueError, match="item 3"):
        list(in_threads(work, range(1000), 2))
    assert len(done) < 20


@pytest.mark.parametrize("threads", [-1, 1025])
def test_threads_that_cannot_be_are_named(threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}; give 0 for one a core"):
        list(in_threads(abs, [1], threads))
