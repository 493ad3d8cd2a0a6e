"""Which pictures a list of files, folders and globs means."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif"})
"""File names that count as pictures in folders and globs."""


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to read.

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
    those in folders that match, both sorted and without hidden ones. Of a file the name is the
    file's own, below a folder or a glob it keeps the folders; where two names are equal but for
    the letter case, the later one gets a number. A folder or glob without pictures, and a folder
    that cannot be listed, stand for themselves, so that reading them tells too. Where
    `results` lies below a folder or glob, what an earlier run left there is no input.
    """
    left_out = None if results is None else results.resolve()
    names: dict[Path, Path] = {}
    paths: dict[Path, Path] = {}
    taken: set[str] = set()
    for base, path in (found for item in inputs for found in _expand(Path(item))):
        file = path.absolute()
        below = left_out is not None and base.resolve() in left_out.parents
        if below and left_out in file.resolve().parents:
            continue
        if file not in names:
            names[file] = _unique(path.relative_to(base), taken)
            paths[file] = path
            taken |= _claims(names[file])
    return [Source(paths[file], name) for file, name in names.items()]


def _expand(item: Path) -> list[tuple[Path, Path]]:
    """The pictures that one input means, each after the folder that its name starts below."""
    if item.is_dir():
        return [(item, path) for path in _walk(item)] or [(item.parent, item)]
    fixed = Path(item.anchor)
    if not os.path.lexists(item):
        for part in item.relative_to(item.anchor).parts:
            if set(part) & set("*?["):
                pattern = str(item.relative_to(fixed))
                return [(fixed, path) for path in _match(fixed, pattern)] or [(fixed, item)]
            fixed /= part
    return [(item.parent, item)]


def _match(folder: Path, pattern: str) -> list[Path]:
    """The pictures in `folder` that match the glob, and those below folders that match."""
    pictures: list[Path] = []
    for path in sorted(folder.glob(pattern)):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_dir():
            pictures += _walk(path)
        elif _is_picture(path):
            pictures.append(path)
    return pictures


def _walk(folder: Path) -> list[Path]:
    """The pictures in `folder` and below, sorted, and the folders that cannot be listed."""
    pictures: list[Path] = []
    faults: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=faults.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        pictures += filter(_is_picture, (Path(parent, name) for name in files))
    return sorted(pictures) + [Path(fault.filename) for fault in faults]


def _is_picture(path: Path) -> bool:
    # macOS leaves a hidden "._photo.jpg", which is no picture, beside "photo.jpg" on foreign disks.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _unique(name: Path, taken: set[str]) -> Path:
    """`name`, or `name-2`, `name-3` ... when others have it."""
    stem, number = name.stem, 1
    while _claims(name) & taken:
        number += 1
        name = name.with_stem(f"{stem}-{number}")
    return name


def _claims(name: Path) -> set[str]:
    """What no other name may be: annotated, a picture may become PNG and get that suffix."""
    return {str(name).casefold(), f"{name}.png".casefold()}
