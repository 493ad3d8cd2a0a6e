"""Signals that ask a process to stop: Ctrl-C, `kill`, a closed terminal."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
REPEAT_SECONDS = 0.5
"""A signal so soon after the first is the same request: `timeout` sends it to the process and to
its group."""


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
