"""Which pictures and videos a list of files, folders and globs means."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif"}
    | {".heic", ".heif"}
)
"""File names that count as pictures in folders and globs."""
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv"}
    | {".flv", ".3gp", ".ogv"}
)
"""File names that count as videos, in folders and globs and by themselves."""
LIST = "-"
"""An input that stands for paths on standard input, one a line."""


@dataclass(frozen=True, slots=True)
class Source:
    """A picture or video to read.

    Attributes:
        path: the file, as the user would name it.
        name: relative path, unlike any other source's, under which to store what comes of it.
    """

    path: Path
    name: Path


def find_pictures(inputs: Iterable[str | Path], results: Path | None = None) -> list[Source]:
    """List the pictures that `inputs` mean, in their order and each once.

    A file is taken whatever its suffix, and even if it does not exist: reading it tells. A folder
    gives the pictures in it and below, a glob (`*`, `?`, `[...]`, `**`) those that match and
    those in folders that match, both sorted and without hidden ones; folders that are links are
    not entered, so that none is in itself. Of a file the name is the file's own, below a folder or
    a glob it keeps the folders; where two names are equal but for the letter case, the later one
    gets a number. A folder or glob without pictures, and a folder that cannot be listed, stand for
    themselves, so that reading them tells too. Where `results` lies below a folder or glob, what
    an earlier run left there is no input.

    Raises:
        ValueError: an input is empty, as a variable of the shell that was never set.
    """
    return _find(inputs, results, SUFFIXES)


def find_media(inputs: Iterable[str | Path], results: Path | None = None) -> list[Source]:
    """List the pictures and videos that `inputs` mean, likewise."""
    return _find(inputs, results, SUFFIXES | VIDEO_SUFFIXES)


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_list(inputs: Iterable[str], stream: Iterable[str]) -> list[str]:
    """The inputs, with the lines of a stream, as standard input, in place of `-`."""
    listed: list[str] = []
    for item in inputs:
        lines = (line.rstrip("\r\n") for line in stream)
        listed += filter(None, lines) if item == LIST else [item]
    return listed


def _find(
    inputs: Iterable[str | Path], results: Path | None, suffixes: frozenset[str]
) -> list[Source]:
    """The files that `inputs` mean, of folders and globs those with the suffixes."""
    left_out = None if results is None else real_path(results)
    names: dict[Path, Path] = {}
    paths: dict[Path, Path] = {}
    folders: dict[Path, Path] = {}
    taken: set[str] = set()
    for base, path in (found for item in _named(inputs) for found in _expand(item, suffixes)):
        # A link is a file of its own; another way to the same folder is not another file.
        if path.parent not in folders:
            folders[path.parent] = real_path(path.parent)
        file = folders[path.parent] / path.name
        below = left_out is not None and real_path(base) in left_out.parents
        if below and left_out in real_path(file).parents:
            continue
        if file not in names:
            # A folder without pictures may be `.`, and results need a name.
            name = path.relative_to(base)
            name = Path(real_path(path).name or "root") if name.name in {"", ".."} else name
            names[file] = _unique(name, taken)
            paths[file] = path
            taken |= _claims(names[file])
    return [Source(paths[file], name) for file, name in names.items()]


def _named(inputs: Iterable[str | Path]) -> Iterator[Path]:
    """The inputs as paths; an empty one would be the current folder."""
    for item in inputs:
        if item == "":
            raise ValueError(
                'an input is ""; name a file, a folder or a glob, as . for this folder'
            )
        yield Path(item)


def real_path(path: Path) -> Path:
    """The path without links; `Path.resolve` refuses links that lead to themselves."""
    return Path(os.path.realpath(path))


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; what cannot be looked at is none, and reading it tells."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _expand(item: Path, suffixes: frozenset[str]) -> list[tuple[Path, Path]]:
    """The files that one input means, each after the folder that its name starts below."""
    if is_folder(item):
        return [(item, path) for path in _walk(item, suffixes)] or [(item.parent, item)]
    fixed = Path(item.anchor)
    if not os.path.lexists(item):
        for part in item.relative_to(item.anchor).parts:
            if set(part) & set("*?["):
                pattern = item.relative_to(fixed).parts
                return [(fixed, path) for path in _match(fixed, pattern, suffixes)] or [
                    (fixed, item)
                ]
            fixed /= part
    return [(item.parent, item)]


def _match(folder: Path, pattern: tuple[str, ...], suffixes: frozenset[str]) -> list[Path]:
    """The files in `folder` that match the glob, and those below folders that match.

    And the folders on the way that cannot be listed, which `Path.glob` passes over.
    """
    files: list[Path] = []
    for path in sorted(set(_glob(folder, pattern))):
        if is_folder(path):
            files += _walk(path, suffixes)
        elif _is_meant(path, suffixes):
            files.append(path)
    return files


def _glob(folder: Path, pattern: tuple[str, ...]) -> Iterator[Path]:
    """What matches the parts of a glob below `folder`, or cannot be listed, nothing hidden."""
    part, rest = pattern[0], pattern[1:]
    if not set(part) & set("*?["):
        path = folder / part
        if rest:
            yield from _glob(path, rest)
        elif os.path.lexists(path):
            yield path
        return
    try:
        names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        yield folder
        return
    if part == "**":
        yield from _glob(folder, rest) if rest else [folder]
        for path in (folder / name for name in names):
            if is_folder(path) and not path.is_symlink():
                yield from _glob(path, pattern)
        return
    for name in fnmatch.filter(names, part):
        if rest:
            yield from _glob(folder / name, rest)
        else:
            yield folder / name


def _walk(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """The files in `folder` and below, sorted, and the folders that cannot be listed."""
    found: list[Path] = []
    faults: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=faults.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in files)
        found += (path for path in paths if _is_meant(path, suffixes))
    return sorted(found) + [Path(fault.filename) for fault in faults]


def _is_meant(path: Path, suffixes: frozenset[str]) -> bool:
    # macOS leaves a hidden "._photo.jpg", which is no picture, beside "photo.jpg" on foreign disks.
    if path.suffix.lower() not in suffixes or path.name.startswith("."):
        return False
    # Who reads a pipe waits for ever. Whatever else is no file, reading tells.
    with suppress(OSError):
        return not path.is_fifo()
    return True


def _unique(name: Path, taken: set[str]) -> Path:
    """`name`, or `name-2`, `name-3` ... when others have it."""
    stem, number = name.stem, 1
    while _claims(name) & taken:
        number += 1
        name = name.with_stem(f"{stem}-{number}")
    return name


def _claims(name: Path) -> set[str]:
    """What no other name may be: what is written may become PNG or MKV and get that suffix."""
    return {f"{name}{suffix}".casefold() for suffix in ("", ".png", ".mkv")}
