"""Signals that ask a process to stop: Ctrl-C, `kill`, a closed terminal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextmanager
def handle_signals(
    handler: Callable[[int, FrameType | None], object],
) -> Iterator[Callable[[], None]]:
    """Handle the signals of `STOPPING` with `handler`; yields a function that restores the old.

    Signals that the process ignores, as after `nohup`, stay ignored. Outside the main thread,
    which alone receives signals, it does nothing.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in STOPPING}
        before = {n: own for n, own in found.items() if own not in {None, signal.SIG_IGN}}

    def restore() -> None:
        for number, own in before.items():
            signal.signal(number, own)

    for number in before:
        signal.signal(number, handler)
    try:
        yield restore
    finally:
        restore()


@contextmanager
def defer_interrupt() -> Iterator[threading.Event]:
    """Turn Ctrl-C, or SIGTERM, into an event, so that work can stop in order.

    A second one interrupts at once.

    Raises:
        KeyboardInterrupt: at the end of the block, if the event was set.
    """
    interrupted = threading.Event()

    def stop(*_: object) -> None:
        interrupted.set()
        restore()

    with handle_signals(stop) as restore:
        yield interrupted
    if interrupted.is_set():
        raise KeyboardInterrupt
