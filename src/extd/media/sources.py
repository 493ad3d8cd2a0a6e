"""Find the images and videos that a list of files, folders and globs names."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from extd.files import SUFFIXES, real_path

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv"}
    | {".flv", ".3gp", ".ogv"}
)
"""Suffixes of videos."""
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


def _find(
    inputs: Iterable[str | Path], results: Path | None, suffixes: frozenset[str]
) -> list[Source]:
    """The files that `inputs` name; in folders and globs, those with the suffixes."""
    left_out = None if results is None else real_path(results)
    names: dict[Path, Path] = {}
    paths: dict[Path, Path] = {}
    folders: dict[Path, Path] = {}
    taken: set[str] = set()
    for base, path in (found for item in _named(inputs) for found in _expand(item, suffixes)):
        # A link is a file of its own, but two paths to a folder hold the same files.
        if path.parent not in folders:
            folders[path.parent] = real_path(path.parent)
        file = folders[path.parent] / path.name
        below = left_out is not None and real_path(base) in left_out.parents
        if below and left_out in real_path(file).parents:
            continue
        if file not in names:
            # A folder without images may be `.`, and results need a name.
            name = path.relative_to(base)
            name = Path(real_path(path).name or "root") if name.name in {"", ".."} else name
            names[file] = _unique(name, taken)
            paths[file] = path
            taken |= _claims(names[file])
    return [Source(paths[file], name) for file, name in names.items()]


def _named(inputs: Iterable[str | Path]) -> Iterator[Path]:
    """The inputs as paths. An empty one is refused: it would be the current folder."""
    for item in inputs:
        if item == "":
            raise ValueError(
                'an input is ""; name a file, a folder or a glob, as . for this folder'
            )
        yield Path(item)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False for one that cannot be accessed."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _expand(item: Path, suffixes: frozenset[str]) -> list[tuple[Path, Path]]:
    """The files that one input names, each with the folder that its name is relative to."""
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

    `Path.glob` would skip folders that cannot be listed; here they are part of the result.
    """
    files: list[Path] = []
    for path in sorted(set(_glob(folder, pattern))):
        if is_folder(path):
            files += _walk(path, suffixes)
        elif _is_listed(path, suffixes):
            files.append(path)
    return files


def _glob(folder: Path, pattern: tuple[str, ...]) -> Iterator[Path]:
    """What matches the parts of a glob below `folder`, without hidden files."""
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
        found += (path for path in paths if _is_listed(path, suffixes))
    return sorted(found) + [Path(fault.filename) for fault in faults]


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
