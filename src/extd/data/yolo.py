"""YOLO: pictures below `images`, a text file for each at the same place below `labels`.

A line is a class, and centre x, centre y, width and height as shares of the picture's size. A
picture whose text file is empty or missing has no faces. A YAML file may name the classes; the one
called `face` counts, and without names all objects must be of class 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from extd.boxes import Boxes
from extd.data.entries import FACE, at, face_classes, from_corners, plain, read_text
from extd.data.pixels import Progress, read_sizes
from extd.data.sample import Sample
from extd.files import SUFFIXES

IMAGES, LABELS = "images", "labels"
SPLITS = ("train", "val", "valid", "test")
NO_LABELS = frozenset({"classes.txt"})
"""Text files among the labels that are about no picture."""
DIGITS = 10
"""Decimals of a share, a millionth of a pixel."""
FOLDED = re.compile(r"(?:-\s+|(\d+)\s*:\s*)(.+)")
"""A class in a list or mapping of YAML with a line each."""


def find_yolo(path: Path) -> Path | None:
    """The folder of text files that a path means.

    The path is a folder with `images` and `labels`, one of those two or a folder below them, a
    folder of pictures and text files together, or a YAML file in the first of these.

    Raises:
        ValueError: the set is divided into splits, as `labels/train` and `labels/val`.
    """
    if path.is_file():
        return find_yolo(path.parent) if path.suffix.lower() in {".yaml", ".yml"} else None
    below = [path / LABELS / split for split in SPLITS]
    within = [path / split / LABELS for split in SPLITS]
    for splits in (below, within):
        there = [
            one for one in splits if one.is_dir() and _counterpart(one, LABELS, IMAGES).is_dir()
        ]
        if len(there) > 1:
            names = ", ".join(map(str, there))
            raise ValueError(f"{path} is divided; name one of {names}")
        if there and splits is within:
            return there[0]
    if (path / IMAGES).is_dir() and (path / LABELS).is_dir():
        return path / LABELS
    if LABELS in {path.name, path.parent.name} and any(path.rglob("*.txt")):
        return path
    counterpart = _counterpart(path, IMAGES, LABELS)
    if counterpart != path and counterpart.is_dir():
        return counterpart
    texts = {text.stem for text in path.glob("*.txt")}
    together = any(
        file.stem in texts and file.suffix.lower() in SUFFIXES for file in path.glob("*.*")
    )
    return path if together else None


def _counterpart(path: Path, own: str, other: str) -> Path:
    """The same folder of the other of the two trees; the path itself if it is in neither."""
    if path.name == own:
        return path.with_name(other)
    if path.parent.name == own:
        return path.parent.with_name(other) / path.name
    return path


def yolo_images(folder: Path, images: Path | None = None) -> Path:
    """The folder of the pictures, all of which and of those below belong to the set."""
    if images is not None:
        return images
    beside = _counterpart(folder, LABELS, IMAGES)
    return beside if beside.is_dir() else folder


def read_yolo(
    folder: Path, images: Path | None = None, progress: Progress | None = None
) -> list[Sample]:
    """The pictures of a folder and those below it, by their names.

    A text file without a picture stands for one that is missing, with the suffix `.jpg`.

    Args:
        folder: the text files.
        images: folder of the pictures; without it the one called `images` beside `folder`, or
            `folder` itself where there is none.
        progress: is told how many pictures' sizes were read, which the labels do not tell.

    Raises:
        ValueError: a line cannot be understood, no class is that of faces, or not one picture can
            be read.
    """
    images = yolo_images(folder, images)
    names = {
        file.relative_to(images)
        for file in images.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file()
    }
    stems = {name.with_suffix("") for name in names}
    for text in folder.rglob("*.txt"):
        name = text.relative_to(folder)
        if text.name not in NO_LABELS and name.with_suffix("") not in stems:
            names.add(name.with_suffix(".jpg"))
    ordered = sorted(names)
    faces = _face_numbers(folder)
    shares = [_read_shares((folder / name).with_suffix(".txt"), faces) for name in ordered]
    paths = [images / name for name in ordered]
    sizes = read_sizes(paths, folder, progress)
    none = np.empty((0, 4), np.float32)
    return [
        Sample(path, *size, _to_px(rows, size), none)
        for path, size, rows in zip(paths, sizes, shares, strict=True)
    ]


def _face_numbers(folder: Path) -> set[int] | None:
    """The numbers of the classes of faces, or None where nothing names the classes."""
    for parent in (folder, *folder.parents[:2]):
        for file in sorted([*parent.glob("*.yaml"), *parent.glob("*.yml")]):
            with at(file):
                names = _class_names(read_text(file))
                if names is not None:
                    faces = face_classes(names.values())
                    return {number for number, name in names.items() if name in faces}
    return None


def _class_names(text: str) -> dict[int, str] | None:
    """The classes under the key `names` of a YAML file, or None without that key."""
    lines = [line.split(" #")[0].rstrip() for line in text.splitlines()]
    start = next((i for i, line in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if start is None:
        return None
    value = lines[start].split(":", 1)[1].strip()
    if value[:1] in {"[", "{"} and value[-1] in {"]", "}"}:
        items = [item.strip() for item in value[1:-1].split(",") if item.strip()]
        if value[0] == "[":
            items = [f"- {item}" for item in items]
    elif value:
        raise ValueError(f"'names' is {value!r}; write it as names: [face]")
    else:
        items = []
        for line in lines[start + 1 :]:
            if line and not line.startswith((" ", "-", "\t")):
                break
            items += [line.strip()] if line.strip() else []
    names: dict[int, str] = {}
    for item in items:
        match = FOLDED.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} is no name of a class; write them as names: [face]")
        names[len(names) if match[1] is None else int(match[1])] = match[2].strip("\"'")
    return names


def _read_shares(file: Path, faces: set[int] | None) -> list[list[float]]:
    """Rows of x1, y1, x2, y2 of the faces, as shares of width and height."""
    rows = []
    lines = read_text(file).split("\n") if file.is_file() else []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        with at(file, f"line {number}"):
            if len(words) != 5:
                raise ValueError(
                    f"{line.strip()!r} has {len(words)} numbers; expected 5: class, centre x, "
                    "centre y, width, height"
                )
            kind = int(words[0])
            if faces is None and kind != 0:
                raise ValueError(f"class {kind} has no name; add data.yaml with names: [...]")
            x, y, width, height = (float(word) for word in words[1:])
            row = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            from_corners([row])
            if faces is None or kind in faces:
                rows.append(row)
    return rows


def _to_px(rows: list[list[float]], size: tuple[int, int]) -> Boxes:
    return (np.array(rows, np.float64).reshape(-1, 4) * [*size, *size]).astype(np.float32)


def place_yolo(picture: Sample, below: Path) -> Path:
    """Where a picture lies in the layout."""
    return IMAGES / below


def write_yolo(pictures: Sequence[Sample], folder: Path) -> None:
    """Write text files for pictures that are in their place in `folder`, and `data.yaml`.

    Boxes are exact to a few millionths of a pixel. Ignored regions and sources are not written.
    """
    for picture in pictures:
        name = picture.path.relative_to(folder / IMAGES)
        file = (folder / LABELS / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_text(picture), encoding="utf-8", newline="")
    names = f"path: .\ntrain: {IMAGES}\nval: {IMAGES}\nnames:\n  0: {FACE}\n"
    (folder / "data.yaml").write_text(names, encoding="utf-8", newline="")


def _text(picture: Sample) -> str:
    boxes = picture.boxes.astype(np.float64)
    middle, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    size = [picture.width, picture.height]
    rows = np.concatenate([middle / size, sides / size], axis=1).round(DIGITS).tolist()
    return "".join(f"0 {' '.join(map(plain, row))}\n" for row in rows)
