from __future__ import annotations

import signal
import threading

import pytest

from extd.signals import STOPPING, caught


@pytest.mark.parametrize("number", STOPPING)
def test_signals_reach_the_handler_until_the_end(number: signal.Signals) -> None:
    own = signal.signal(number, lambda *_: heard.append("own"))
    heard: list[object] = []
    try:
        with caught(lambda got, _: heard.append(got)) as restore:
            signal.raise_signal(number)
            restore()
            signal.raise_signal(number)
        signal.raise_signal(number)
    finally:
        signal.signal(number, own)
    assert heard == [number, "own", "own"]


def test_what_a_process_ignores_stays_ignored() -> None:
    own = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with caught(lambda *_: pytest.fail("it was not ignored")):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, own)


def test_other_threads_get_no_signals() -> None:
    handlers: list[object] = []

    def work() -> None:
        with caught(lambda *_: None):
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
