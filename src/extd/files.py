"""Files that appear whole or not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_numbers = itertools.count()
"""Of the files that this process writes, so that no two threads write one."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the name `path` once the block ends well.

    An error leaves what `path` held before. The folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: encoders choose the format by it. The name may be as long as names can be.
    partial = path.with_name(f".{os.getpid()}.{next(_numbers)}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
