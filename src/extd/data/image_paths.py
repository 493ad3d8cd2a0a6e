"""Where the images are that labels name: label files come from other machines and tools."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from extd.files import SUFFIXES

TRIED = 100
"""Images to look for when searching for their folder."""
COMMON = (".jpg", ".jpeg", ".png")
ENDINGS = (*COMMON, *map(str.upper, COMMON), *sorted(SUFFIXES - {*COMMON}))
"""Suffixes that are tried for names without one."""
ABSOLUTE = re.compile(r"[A-Za-z]:|[\\/]")
"""How absolute names start, on any system."""


def find_image(folder: Path, name: str) -> Path:
    r"""The image in `folder` that a label file calls `name`; `folder / name` if there is none.

    Backslashes separate folders, and a suffix may be missing. The folders of an absolute name are
    those of another machine, and a relative one may repeat the end of `folder`.
    """
    exact = folder / name
    # Not `is_file`, which raises for names that are too long.
    if os.path.isfile(exact):  # noqa: PTH113
        return exact
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", "."}]
    foreign = ABSOLUTE.match(name) is not None
    for start in range(len(parts)):
        if foreign or parts[:start] == [*folder.parts[len(folder.parts) - start :]]:
            path = folder.joinpath(*parts[start:])
            endings = ENDINGS if path.suffix.lower() not in SUFFIXES else ()
            for ending in ("", *endings):
                candidate = path.parent / f"{path.name}{ending}"
                if os.path.isfile(candidate):  # noqa: PTH113
                    return candidate
    return folder.joinpath(*parts) if "\\" in name and not foreign else exact


def find_detected(folder: Path, name: str) -> Path:
    """As `find_image`; results of `extd detect` name images relative to the working directory."""
    image = find_image(folder, name)
    return image if image.is_file() or not Path(name).is_file() else Path(name)


def find_own(folder: Path, name: str, stem: str) -> Path:
    """The image in `folder` of a label file of its own, which calls it `name` or nothing.

    Label files are copied and renamed with their images while `name` is forgotten, so the image
    that is called like the label file, `stem`, comes first.
    """
    named = find_image(folder, name or f"{stem}.jpg")
    if named.stem != stem or not named.is_file():
        last = name.replace("\\", "/").rpartition("/")[2]
        for candidate in (find_image(folder, stem), named, find_image(folder, last or stem)):
            if candidate.is_file():
                return candidate
    return named


def find_folder(labels: Path, names: Sequence[str], folders: Sequence[Path], whole: Path) -> Path:
    """The first of the folders with one of the first images, or one anywhere in `whole`.

    Raises:
        FileNotFoundError: no image is there; the message names `labels`.
    """
    for folder in folders:
        if any(find_image(folder, name).is_file() for name in names[:TRIED]):
            return folder
    # Some tools put images deeper than their names say.
    for name in names[:1]:
        tail = Path(name.replace("\\", "/"))
        for path in islice(whole.rglob(glob.escape(tail.name) or "*"), TRIED):
            if path.parts[-len(tail.parts) :] == tail.parts:
                return path.parents[len(tail.parts) - 1]
    if not names:
        return folders[0]
    raise FileNotFoundError(
        f"no image of {labels}, such as {names[0]!r}, is in {', '.join(map(str, folders))}; "
        "name their folder, as with extd data convert --images"
    )
