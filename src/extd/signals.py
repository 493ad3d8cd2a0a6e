"""Signals that ask a process to end: of Ctrl-C, of `kill`, of a terminal that closes."""

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
def caught(handler: Callable[[int, FrameType | None], object]) -> Iterator[Callable[[], None]]:
    """Within it, `handler` gets the signals of `STOPPING`; it gives what ends that before the end.

    Those that the process ignores, as after `nohup`, stay ignored. Outside of the main thread,
    which alone gets signals, it does nothing.
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
