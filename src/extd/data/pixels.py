"""Sample files: their bytes, pixels and sizes, also where they lie in a zip archive.

A path such as `WIDER_train.zip/WIDER_train/images/0--Parade/a.jpg` leads into an archive.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from zipfile import ZipFile

from extd.data.archives import DAMAGE
from extd.data.sample import Sample
from extd.data.threads import in_threads
from extd.images import Image, image_size, read_image

Progress = Callable[[int, int], object]
"""Told how many pictures are done, and of how many."""


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """The content of a file, the first `limit` bytes of it where that is given.

    Raises:
        FileNotFoundError: there is no such file, or no such member of an archive.
        ValueError: the archive is broken.
    """
    inside = find_archive(path)
    if inside is None:
        try:
            with path.open("rb") as file:
                return file.read(limit)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"there is no file {path}") from error
    archive, member = inside
    try:
        with _open(archive).open(member) as file:
            return file.read(limit)
    except KeyError as error:
        raise FileNotFoundError(f"there is no {member} in {archive}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def is_file(path: Path) -> bool:
    """Whether there is such a file, or such a member of an archive.

    Raises:
        ValueError: the archive is broken.
    """
    inside = find_archive(path)
    if inside is None:
        return path.is_file()
    archive, member = inside
    try:
        return member in _open(archive).NameToInfo
    except DAMAGE as error:
        raise ValueError(f"{archive} cannot be read: {error}") from error


def read_pixels(path: Path) -> Image:
    """A picture as `read_image` gives it, uint8 [H, W, 3] RGB, upright. Any thread may call it.

    Raises:
        FileNotFoundError: there is no such file, or no such member of an archive.
        ValueError: the picture or its archive is broken.
    """
    if find_archive(path) is None:
        return read_image(path)
    data = read_bytes(path)
    try:
        return read_image(data)
    except ValueError as error:
        raise ValueError(str(error).replace("the image in memory", str(path))) from error


def find_archive(path: Path) -> tuple[Path, str] | None:
    """The archive that a path leads into, and the member there."""
    for folder in path.parents:
        if folder.suffix.lower() == ".zip" and folder.is_file():
            return folder, path.relative_to(folder).as_posix()
    return None


def _open(archive: Path) -> ZipFile:
    stat = archive.stat()
    # A process that was forked would move the place at which its parent reads.
    return _open_once(archive, stat.st_mtime_ns, stat.st_size, os.getpid())


@lru_cache(maxsize=8)
def _open_once(archive: Path, changed: int, size: int, process: int) -> ZipFile:
    """An open archive, kept because its table of contents is slow to read; the last few stay."""
    return ZipFile(archive)


def read_size(path: Path) -> tuple[int, int]:
    """Width and height in px that `read_pixels` gives.

    Raises:
        FileNotFoundError: there is no such file, or no such member of an archive.
        ValueError: the picture or its archive is broken.
    """
    if find_archive(path) is None:
        return image_size(path)
    height, width = read_pixels(path).shape[:2]
    return width, height


def read_sizes(
    paths: Sequence[Path], labels: Path, progress: Progress | None = None
) -> list[tuple[int, int]]:
    """Width and height of pictures whose labels do not tell them, px.

    It is 0 x 0 where the picture is missing or broken: one bad file does not keep the others from
    being checked or learnt from, and whoever reads the picture reports it.

    Args:
        paths: the picture files.
        labels: the label file that names them, for the error.
        progress: is told how many are done.

    Raises:
        ValueError: not one of them can be read.
    """
    sizes: list[tuple[int, int]] = []
    reasons: list[str] = []
    for result in in_threads(_size_or_reason, paths):
        if isinstance(result, str):
            reasons.append(result)
        sizes.append((0, 0) if isinstance(result, str) else result)
        if progress is not None:
            progress(len(sizes), len(paths))
    if reasons and len(reasons) == len(sizes):
        raise ValueError(
            f"{labels} does not tell the size of its pictures, and none of the {len(sizes):,} can "
            f"be read: {reasons[0]}; name the folder that holds them, as with extd data convert "
            "--images"
        )
    return sizes


def _size_or_reason(path: Path) -> tuple[int, int] | str:
    try:
        return read_size(path)
    except (OSError, ValueError, MemoryError) as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"


def with_sizes(
    pictures: Sequence[Sample], labels: Path, progress: Progress | None = None
) -> list[Sample]:
    """The pictures, with sizes read from their files where they are 0; see `read_sizes`."""
    unsized = [index for index, picture in enumerate(pictures) if not picture.width]
    sizes = read_sizes([pictures[index].path for index in unsized], labels, progress)
    complete = list(pictures)
    for index, (width, height) in zip(unsized, sizes, strict=True):
        complete[index] = replace(pictures[index], width=width, height=height)
    return complete
