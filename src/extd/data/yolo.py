"""YOLO: images below `images`, a text file for each at the same place below `labels`.

A line is a class, and center x, center y, width and height as fractions of the image's size. An
image whose text file is empty or missing has no faces. A YAML file may name the classes; the one
called `face` counts, and without names all objects must be of class 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from extd.boxes import Boxes
from extd.data.sample import FACE, Sample, at, face_classes, from_xyxy, plain, read_text, write_text
from extd.files import SUFFIXES

IMAGES, LABELS = "images", "labels"
SPLITS = ("train", "val", "valid", "test")
NOT_LABELS = frozenset({"classes.txt"})
"""Text files among the labels that are about no image."""
DIGITS = 10
"""Decimals of a fraction: a millionth of a pixel."""
NAMES = re.compile(r"^names[ \t]*:(.*(?:\n(?:[ \t-].*)?)*)", re.MULTILINE)
"""The value of the key `names` in YAML, to the next key."""
CLASS = re.compile(r"""(?:- +|(\d+) *: *)?["']?(\w.*?)["']?""")
"""An item of a list or mapping of classes in YAML."""


def find_yolo(path: Path) -> Path | None:
    """The folder of text files that a path means.

    The path is a folder with `images` and `labels`, one of those two or a folder below them, a
    folder of images and text files together, or a YAML file in the first of these. One that is
    divided into splits, as `labels/train` and `labels/val`, is refused.
    """
    if path.is_file():
        return find_yolo(path.parent) if path.suffix.lower() in {".yaml", ".yml"} else None
    parts = [
        path / folder for split in SPLITS for folder in (f"{LABELS}/{split}", f"{split}/{LABELS}")
    ]
    parts = [one for one in parts if one.is_dir() and _counterpart(one, LABELS, IMAGES).is_dir()]
    if len(parts) > 1:
        raise ValueError(f"{path} is divided; name one of {', '.join(map(str, parts))}")
    if parts:
        return parts[0]
    if (path / IMAGES).is_dir() and (path / LABELS).is_dir():
        return path / LABELS
    if LABELS in {path.name, path.parent.name} and any(path.rglob("*.txt")):
        return path
    counterpart = _counterpart(path, IMAGES, LABELS)
    if counterpart != path and counterpart.is_dir():
        return counterpart
    texts = {text.stem for text in path.glob("*.txt")}
    files = path.glob("*.*")
    together = any(file.stem in texts and file.suffix.lower() in SUFFIXES for file in files)
    return path if together else None


def _counterpart(path: Path, own: str, other: str) -> Path:
    """The same folder in the other of the two trees; the path itself if it is in neither."""
    if path.name == own:
        return path.with_name(other)
    if path.parent.name == own:
        return path.parent.with_name(other) / path.name
    return path


def read_yolo(folder: Path, images: Path | None = None) -> list[Sample]:
    """The samples of a folder and those below it, sorted by name; see `datasets.read_dataset`.

    Sizes of images are 0 x 0, and boxes are float64 fractions of the size: YOLO gives no sizes.
    A text file without an image stands for one that is missing, with the suffix `.jpg`. Without
    `images`, the images are in the folder called so beside `folder`, or else in `folder` itself.
    """
    if images is None:
        beside = _counterpart(folder, LABELS, IMAGES)
        images = beside if beside.is_dir() else folder
    names = {
        file.relative_to(images)
        for file in images.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file()
    }
    stems = {name.with_suffix("") for name in names}
    for text in folder.rglob("*.txt"):
        name = text.relative_to(folder)
        if text.name not in NOT_LABELS and name.with_suffix("") not in stems:
            names.add(name.with_suffix(".jpg"))
    faces, none = _face_numbers(folder), np.empty((0, 4), np.float32)
    samples = []
    for name in sorted(names):
        boxes = _read_boxes((folder / name).with_suffix(".txt"), faces)
        samples.append(Sample(images / name, 0, 0, boxes, none))
    return samples


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
    found = NAMES.search("\n".join(line.split(" #")[0] for line in text.splitlines()))
    if found is None:
        return None
    value = found[1].strip()
    names: dict[int, str] = {}
    separator = r"[][{},]" if value[:1] in {"[", "{"} else "\n"
    for item in filter(None, map(str.strip, re.split(separator, value))):
        match = CLASS.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} is not the name of a class; write them as names: [face]")
        names[len(names) if match[1] is None else int(match[1])] = match[2]
    return names


def _read_boxes(file: Path, faces: set[int] | None) -> Boxes:
    """The faces in a text file as fractions of width and height: x1, y1, x2, y2, float64."""
    rows = []
    lines = read_text(file).split("\n") if file.is_file() else []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        with at(file, f"line {number}"):
            if len(words) != 5:
                raise ValueError(
                    f"{line.strip()!r} has {len(words)} numbers; expected 5: class, center x, "
                    "center y, width, height"
                )
            kind = int(words[0])
            if faces is None and kind != 0:
                raise ValueError(f"class {kind} has no name; add data.yaml with names: [...]")
            x, y, width, height = (float(word) for word in words[1:])
            row = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            from_xyxy([row])
            if faces is None or kind in faces:
                rows.append(row)
    return np.reshape(np.array(rows), (-1, 4))


def place_yolo(sample: Sample, name: Path) -> Path:
    """Where an image is in the layout; see `datasets.Format`."""
    return IMAGES / name


def write_yolo(samples: Sequence[Sample], folder: Path) -> None:
    """Write text files for images that are in their place in `folder`, and `data.yaml`."""
    for sample in samples:
        name = sample.path.relative_to(folder / IMAGES)
        text = yolo_lines(sample.boxes, sample.width, sample.height)
        write_text((folder / LABELS / name).with_suffix(".txt"), text)
    names = f"path: .\ntrain: {IMAGES}\nval: {IMAGES}\nnames:\n  0: {FACE}\n"
    write_text(folder / "data.yaml", names)


def yolo_lines(boxes: Boxes, width: int, height: int) -> str:
    """The text of an image: a line a face, exact to a few millionths of a pixel."""
    corners = boxes.astype(np.float64) / [width, height, width, height]
    center, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    rows = np.concatenate([center, sides], axis=1).round(DIGITS).tolist()
    return "".join(f"0 {' '.join(map(plain, row))}\n" for row in rows)
