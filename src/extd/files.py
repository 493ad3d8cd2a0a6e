"""Image files by their names; files and folders that appear whole or not at all."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif"})
"""Names of image files end so, in folders and globs."""

_numbers = itertools.count()
"""Keeps the temporary names of this process's threads apart."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the name `path` once the block ends well.

    An error leaves what `path` held before. The folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Encoders choose the format by the suffix.
    partial = path.with_name(_partial_name(path.suffix))
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the name `folder` once the block ends well.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty; give a new folder, or remove it")
    # `.` has no name, and a link has no room beside its target.
    target = real_path(folder)
    partial = target.with_name(_partial_name())
    try:
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            # An empty folder is filled, not replaced: it may be the working directory.
            for path in sorted(partial.iterdir()):
                path.rename(target / path.name)
        else:
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def real_path(path: Path) -> Path:
    """The path without links; `Path.resolve` refuses links that lead to themselves."""
    return Path(os.path.realpath(path))


def _partial_name(suffix: str = "") -> str:
    """A short hidden name that no other thread or process uses."""
    return f".{os.getpid()}.{next(_numbers)}.partial{suffix}"
