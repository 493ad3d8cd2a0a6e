"""Signals that ask a process to stop: Ctrl-C, `kill`, a closed terminal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


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
def defer_interrupt() -> Iterator[threading.Event]:
    """Turn Ctrl-C, or SIGTERM, into an event, so that work can stop in order.

    A second one interrupts at once.

    Raises:
        KeyboardInterrupt: at the end of the block, if the event was set.
    """
    interrupted = threading.Event()
    received = False

    def stop(*_: object) -> None:
        nonlocal received
        if received:
            raise KeyboardInterrupt
        # Not the event itself: setting it takes a lock, which a second signal would wait for.
        received = True
        interrupted.set()

    try:
        with handle_signals(stop):
            yield interrupted
    finally:
        # Even in place of an error, after which a loop over files goes on with the next one.
        if interrupted.is_set():
            raise KeyboardInterrupt
