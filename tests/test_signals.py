from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from extd import signals
from extd.signals import STOPPING, defer_interrupt, exit_on_repeat, handle_signals


@pytest.mark.parametrize("number", STOPPING)
def test_signals_reach_the_handler_until_the_end(number: signal.Signals) -> None:
    own = signal.signal(number, lambda *_: heard.append("own"))
    heard: list[object] = []
    try:
        with handle_signals(lambda got, _: heard.append(got)):
            signal.raise_signal(number)
        signal.raise_signal(number)
    finally:
        signal.signal(number, own)
    assert heard == [number, "own"]


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
    send: Callable[[list[str]], None], done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "REPEAT_SECONDS", -1.0)
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        send(steps)
    assert steps == done


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_a_signal_that_is_sent_twice_at_once_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "REPEAT_SECONDS", 60.0)
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        send_twice(steps)
    assert steps == ["first", "second"]


@pytest.mark.usefixtures("_ctrl_c_is_heard")
@pytest.mark.parametrize("failing", [False, True])
def test_an_interrupt_at_any_line_is_neither_lost_nor_leaves_a_handler(failing: bool) -> None:
    def work() -> None:
        with defer_interrupt():
            if failing:
                raise ValueError("the file is broken")

    def interrupt_at(line: int) -> bool:
        """Work with a signal at so many lines of the module; whether it was sent."""
        left = line

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != signals.__file__:
                return None
            left -= event == "line"
            if left == 0 and event == "line":
                signal.raise_signal(signal.SIGINT)
            return trace

        coverage = sys.gettrace()
        sys.settrace(trace)
        try:
            work()
        except KeyboardInterrupt:
            return True
        except ValueError:
            assert failing
        finally:
            sys.settrace(coverage)
        assert left > 0, f"lost at line {line}"
        return False

    handlers = [signal.getsignal(number) for number in STOPPING]
    lines = 1
    while interrupt_at(lines):
        assert [signal.getsignal(number) for number in STOPPING] == handlers
        lines += 1
    assert lines > 10


WORK = """
import signal, threading, time
from extd import signals
from extd.signals import exit_on_repeat, stop_on_signals

signals.EXIT_SECONDS = 60.0  # the machine may be busy
import time
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with exit_on_repeat(), stop_on_signals(threading.Event()):
        print("begun", flush=True)
        time.sleep(600)
except KeyboardInterrupt:
    print("closed", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process with SIGTERM")
def test_after_a_second_signal_work_may_still_be_closed() -> None:
    command = [sys.executable, "-c", WORK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == b"\n"
        assert process.stderr.readline() == b"stopping; a second signal stops at once\n"
        time.sleep(2 * signals.REPEAT_SECONDS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
        assert process.stdout.read() == b"closed\n"


def test_the_thread_that_watches_signals_ends_with_its_block() -> None:
    before, fd = threading.active_count(), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    with exit_on_repeat():
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert signal.set_wakeup_fd(fd) == fd
