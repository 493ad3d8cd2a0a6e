"""Find the images and videos that a list of files, folders and globs names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from itertools import takewhile
from pathlib import Path

from extd.files import SUFFIXES, real_path

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv"}
    | {".flv", ".3gp", ".ogv"}
)
LIST = "-"
"""Stands for a list of paths on standard input, one per line."""


@dataclass(frozen=True, slots=True)
class Source:
    """An image or video file.

    Attributes:
        path: the file, as the user names it.
        name: relative path, unique among the sources, under which to store results.
    """

    path: Path
    name: Path


def find_images(inputs: Iterable[str | Path], results: Path | None = None) -> list[Source]:
    """List the images that `inputs` name, in their order and each once.

    A file is listed whatever its suffix, and even if it does not exist. A folder stands for the
    images in it and in its subfolders, a glob (`*`, `?`, `[...]`, `**`) for those that match and
    those in matching folders; both are sorted, without hidden files, and links to folders are not
    followed. What yields nothing, or cannot be listed, is listed itself: reading it gives the
    error.

    A source is named after its file, below a folder or glob with its subfolders. Names that are
    equal but for the letter case get a number.

    Args:
        inputs: files, folders and globs.
        results: folder of results; what an earlier run left there is not listed.

    Raises:
        ValueError: an input is empty, as from an unset variable of the shell.
    """
    return _find(inputs, results, SUFFIXES)


def find_media(inputs: Iterable[str | Path], results: Path | None = None) -> list[Source]:
    """List the images and videos that `inputs` name; see `find_images`."""
    return _find(inputs, results, SUFFIXES | VIDEO_SUFFIXES)


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_list(inputs: Iterable[str], stream: Iterable[str]) -> list[str]:
    """Replace `-` among the inputs by the lines of a stream, as of standard input."""
    listed: list[str] = []
    for item in inputs:
        lines = (line.rstrip("\r\n") for line in stream)
        listed += filter(None, lines) if item == LIST else [item]
    return listed


def is_folder(path: Path | os.DirEntry[str]) -> bool:
    """Whether a path is a folder; False for one that cannot be accessed."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _find(
    inputs: Iterable[str | Path], results: Path | None, suffixes: frozenset[str]
) -> list[Source]:
    """The files that `inputs` name; in folders and globs, those with the suffixes."""
    left_out = None if results is None else real_path(results)
    real_folder = cache(real_path)
    sources: dict[Path, Source] = {}
    taken: set[str] = set()
    for base, path in (found for item in inputs for found in _expand(item, suffixes)):
        # A link is a file of its own, but two paths to a folder hold the same files.
        file = real_folder(path.parent) / path.name
        below = left_out is not None and real_folder(base) in left_out.parents
        if file in sources or (below and left_out in real_path(file).parents):
            continue
        name = path.relative_to(base)
        if name.name in {"", ".."}:
            # A folder without images may be `.`, and results need a name.
            name = Path(real_path(path).name or "root")
        name = _unique(name, taken)
        taken |= _claims(name)
        sources[file] = Source(path, name)
    return list(sources.values())


def _expand(item: str | Path, suffixes: frozenset[str]) -> list[tuple[Path, Path]]:
    """The files that one input names, each with the folder that its name is relative to."""
    if item == "":
        raise ValueError('an input is ""; name a file, a folder or a glob, as . for this folder')
    item = Path(item)
    base, pattern = item, item.parts[:0]
    if not os.path.lexists(item):
        parts = item.relative_to(item.anchor).parts
        fixed = tuple(takewhile(lambda part: not _is_pattern(part), parts))
        base, pattern = Path(item.anchor, *fixed), parts[len(fixed) :]
    found = _glob(base, pattern, suffixes) if pattern or is_folder(item) else ()
    return [(base, path) for path in sorted(set(found))] or [
        (base if pattern else item.parent, item)
    ]


def _glob(path: Path, pattern: tuple[str, ...], suffixes: frozenset[str]) -> Iterator[Path]:
    """Yield the files that match the parts of a glob in `path`; without parts, all below it.

    Folders that cannot be listed, which `Path.glob` would skip, are yielded, too.
    """
    part, rest = pattern[0] if pattern else "**", pattern[1:]
    if not _is_pattern(part):
        path /= part
        if rest or is_folder(path):
            yield from _glob(path, rest, suffixes)
        elif os.path.lexists(path) and _is_listed(path, suffixes):
            yield path
        return
    try:
        entries = [
            entry
            for entry in os.scandir(path)
            if fnmatch(entry.name, part) and not entry.name.startswith(".")
        ]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        yield path
        return
    if part == "**" and rest:
        yield from _glob(path, rest, suffixes)
    for entry in entries:
        below = Path(entry)
        if not is_folder(entry):
            if not rest and _is_listed(below, suffixes):
                yield below
        elif part != "**":
            yield from _glob(below, rest, suffixes)
        elif not entry.is_symlink():
            yield from _glob(below, pattern, suffixes)


def _is_pattern(part: str) -> bool:
    return not set(part).isdisjoint("*?[")


def _is_listed(path: Path, suffixes: frozenset[str]) -> bool:
    # macOS writes a "._photo.jpg", which is not an image, beside "photo.jpg" on foreign disks.
    if path.suffix.lower() not in suffixes or path.name.startswith("."):
        return False
    # Reading a pipe may never end; for other special files it gives an error.
    with suppress(OSError):
        return not path.is_fifo()
    return True


def _unique(name: Path, taken: set[str]) -> Path:
    """`name`, or the first free one of `name-2`, `name-3` ..."""
    stem, number = name.stem, 1
    while _claims(name) & taken:
        number += 1
        name = name.with_stem(f"{stem}-{number}")
    return name


def _claims(name: Path) -> set[str]:
    """The names that a source takes: its result may become PNG or MKV and get that suffix."""
    return {f"{name}{suffix}".casefold() for suffix in ("", ".png", ".mkv")}
