"""Files: images opened with care, names cut to fit, results that appear whole or not at all."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from os import PathLike
from pathlib import Path
from typing import IO, TextIO

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp", ".gif"}
    | {".jfif", ".jpe", ".jif", ".apng", ".hif", ".dib"}
)
"""Names of image files end so, in folders and globs."""

MAX_NAME = 255
"""Bytes of a file name that nearly all file systems allow."""
_numbers = itertools.count()
"""Keeps the temporary names of this process's threads apart."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the name `path` once the block ends well.

    An error leaves what `path` held before. The folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Encoders choose the format by the suffix.
    partial = path.with_name(_partial_name(_short_suffix(path)))
    # A name that is too long fails here, not after the work.
    with suppress(FileNotFoundError):
        path.lstat()
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def copy_owner(source: os.stat_result, path: Path) -> bool:
    """Give a file the mode, times and, if this user may, the owner of another; whether it could."""
    kept = True
    if hasattr(os, "chown"):
        try:
            os.chown(path, source.st_uid, source.st_gid)
        except PermissionError:
            current = path.stat()
            kept = (current.st_uid, current.st_gid) == (source.st_uid, source.st_gid)
    # After a change of the owner, which clears some bits.
    path.chmod(source.st_mode & 0o7777)
    os.utime(path, ns=(source.st_atime_ns, source.st_mtime_ns))
    return kept


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the name `folder` once the block ends well.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
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


def shorten(path: Path, room: int = 0) -> Path:
    """The path with its name cut to 255 bytes, less `room`; a hash keeps cut names apart.

    The suffix stays. Cut names end in `~`, eight digits of the hash and the suffix.
    """
    name = os.fsencode(path.name)
    if len(name) <= MAX_NAME - room:
        return path
    end = f"~{hashlib.sha256(name).hexdigest()[:8]}{_short_suffix(path)}"
    begin = name[: MAX_NAME - room - len(os.fsencode(end))]
    # Not within a character of UTF-8, nor with half of a surrogate.
    while begin and (name[len(begin)] & 0xC0) == 0x80:
        begin = begin[:-1]
    return path.with_name(os.fsdecode(begin) + end)


def _short_suffix(path: Path) -> str:
    """The suffix; what follows a dot in the middle of a long name is none."""
    return path.suffix if len(path.suffix) < 10 else ""


def real_path(path: Path) -> Path:
    """The path without links; `Path.resolve` refuses links that lead to themselves."""
    return Path(os.path.realpath(path))


def _partial_name(suffix: str = "") -> str:
    """A short hidden name that no other thread or process uses."""
    return f".{os.getpid()}.{next(_numbers)}.partial{suffix}"


@contextmanager
def open_file(source: str | PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that should be an image, seekable even if it is a pipe."""
    path = Path(source)
    if path.is_dir():
        # A folder that cannot be listed raises its own error.
        next(path.iterdir(), None)
        raise ValueError(f"{path} is a folder without images, not an image")
    if not path.exists():
        # A path has one slash where a URL has two.
        url = str(source).startswith(("http:/", "https:/"))
        hint = "; it is a URL: download it first" if url else ""
        if set("*?[") & set(str(source)):
            hint = ", and no image matches it as a pattern"
        raise FileNotFoundError(f"there is no file {source}{hint}")
    if path.is_char_device() or path.is_block_device():
        # Reading one may never end.
        raise ValueError(f"{path} is a device, not an image")
    with path.open("rb", buffering=0) as file:
        # A pipe can be read only once.
        yield _BoundedReader(file) if path.is_file() else io.BytesIO(file.readall())


class _BoundedReader(io.BufferedReader):
    """A file that allocates no more for a read than it has bytes left.

    Decoders ask for as much as a header claims, which can be 4 GB in a file of 33 kB.
    """

    def __init__(self, file: io.FileIO) -> None:
        super().__init__(file)
        self._length = os.fstat(file.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > 0:
            size = min(size, max(self._length - self.tell(), 0))
        return super().read(size)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file that appears once it is complete.

    After Ctrl-C it appears with the lines written so far. A link keeps its place, and its target
    is replaced. Pipes and devices are written to directly.

    Raises:
        IsADirectoryError: `path` is a folder.
        OSError: it cannot be written; the error names `path`.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file in it")
    special = path.exists() and not path.is_file()
    interrupt: KeyboardInterrupt | None = None
    try:
        # File names need not be UTF-8; surrogateescape writes their bytes as they are.
        with (
            nullcontext(path) if special else atomic_write(real_path(path)) as partial,
            partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
        ):
            try:
                yield stream
            except KeyboardInterrupt as error:
                interrupt = error
    except OSError as error:
        # Errors of writing lack the name, as on a full disk.
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    if interrupt is not None:
        raise interrupt
