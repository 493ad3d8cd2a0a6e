from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator

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


def send_twice(steps: list[str]) -> None:
    """Send two signals while interrupts are deferred."""
    with defer_interrupt() as interrupted:
        for step in ("first", "second"):
            signal.raise_signal(signal.SIGINT)
            assert interrupted.is_set()
            steps.append(step)


def send_once(steps: list[str]) -> None:
    """Send one signal while interrupts are deferred."""
    with defer_interrupt():
        signal.raise_signal(signal.SIGINT)
        steps.append("end")


@pytest.mark.usefixtures("_ctrl_c_is_heard")
@pytest.mark.parametrize(("send", "done"), [(send_once, ["end"]), (send_twice, ["first"])])
def test_the_first_interrupt_is_deferred_and_the_second_is_not(
    send: Callable[[list[str]], None], done: list[str]
) -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        send(steps)
    assert steps == done
