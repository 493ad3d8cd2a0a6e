"""Signals that ask a process to stop: Ctrl-C, `kill`, a closed terminal."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
REPEAT_SECONDS = 0.5
"""A signal so soon after the first is the same request: `timeout` sends it to the process and to
its group."""

EXIT_SECONDS = 2.0
"""So long after a repeated signal `exit_on_repeat` waits for the program to end by itself."""
INTERRUPTED = 130
"""Exit code of a program that was stopped by a signal."""


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle the signals of `STOPPING` with `handler` until the block ends.

    Signals that the process ignores, as after `nohup`, stay ignored. Only the main thread
    receives signals; elsewhere this does nothing.
    """
    # An exit stack restores all handlers, even if a signal interrupts it.
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if (before := signal.getsignal(number)) not in {None, signal.SIG_IGN}:
                    stack.callback(signal.signal, number, before)
                    signal.signal(number, handler)
        yield


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set the event `stop` at Ctrl-C or another signal, so that work can stop in order.

    Raises:
        KeyboardInterrupt: at a second signal, wherever the program is.
    """
    first = math.nan

    def handle(*_: object) -> None:
        nonlocal first
        # The event cannot tell a second signal: setting it takes a lock, which it would wait for.
        if math.isnan(first):
            first = time.monotonic()
            stop.set()
        elif time.monotonic() - first > REPEAT_SECONDS:
            raise KeyboardInterrupt

    with handle_signals(handle):
        yield


@contextmanager
def defer_interrupt() -> Iterator[threading.Event]:
    """As `stop_on_signals`, with an event of its own.

    Raises:
        KeyboardInterrupt: also at the end of the block, if the event was set.
    """
    interrupted = threading.Event()
    try:
        with stop_on_signals(interrupted):
            yield interrupted
    finally:
        # Even in place of an error, after which a loop over files goes on with the next one.
        if interrupted.is_set():
            raise KeyboardInterrupt


@contextmanager
def exit_on_repeat() -> Iterator[None]:
    """End the process soon after a second signal, or at a third, whatever it is doing; say so.

    Handlers in Python wait for native code to return, and two signals in between arrive as one. So
    a thread reads each signal from a pipe. It does nothing if the block ends in time. Within
    another such block it leaves the signals to that one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # other threads get no signals
        return
    before = signal.set_wakeup_fd(-1)
    if before >= 0:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        yield
        return
    # Windows takes only sockets.
    inner, outer = socket.socketpair()
    outer.setblocking(False)
    signal.set_wakeup_fd(outer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_exit_at_repeat, args=(inner,), name="extd-signals")
    watcher.daemon = True
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        outer.close()
        watcher.join()
        inner.close()


def _exit_at_repeat(numbers: socket.socket) -> None:
    """Read a byte for each signal; return when the other end is closed."""
    first, repeated = math.nan, False
    while True:
        try:
            received = numbers.recv(1)
        except TimeoutError:
            os._exit(INTERRUPTED)
        if not received:
            return
        if received[0] not in STOPPING:
            continue
        if repeated:
            os._exit(INTERRUPTED)
        if math.isnan(first):
            first = time.monotonic()
            # Not `sys.stderr`, whose lock the main thread may hold.
            with suppress(OSError):
                os.write(2, b"\nstopping; a second signal stops at once\n")
        elif time.monotonic() - first > REPEAT_SECONDS:
            repeated = True
            numbers.settimeout(EXIT_SECONDS)
