from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from extd.signals import STOPPING, defer_interrupt, handle_signals


@pytest.mark.parametrize("number", STOPPING)
def test_signals_reach_the_handler_until_the_end(number: signal.Signals) -> None:
    own = signal.signal(number, lambda *_: heard.append("own"))
    heard: list[object] = []
    try:
        with handle_signals(lambda got, _: heard.append(got)) as restore:
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
        with handle_signals(lambda *_: pytest.fail("it was not ignored")):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, own)


def test_other_threads_get_no_signals() -> None:
    handlers: list[object] = []

    def work() -> None:
        with handle_signals(lambda *_: None):
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell turns Ctrl-C off for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_a_deferred_interrupt_comes_at_the_end_of_the_block() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), defer_interrupt() as interrupted:
        signal.raise_signal(signal.SIGINT)
        steps.append(interrupted.is_set())
    assert steps == [True]
    with defer_interrupt():
        pass


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_a_second_interrupt_is_not_deferred() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), defer_interrupt():
        for _ in range(3):
            steps.append("signal")
            signal.raise_signal(signal.SIGINT)
    assert steps == ["signal"] * 2
