"""`labels.jsonl`, the label format of this project: a JSON object a line.

    {"image": "images/a.jpg", "width": 640, "height": 480, "boxes": [[10, 20, 42, 64]],
     "ignore": [], "source": "street", "landmarks": [[18, 36, 33, 35, 26, 45, 20, 53, 32, 52]]}

`image` is relative to the label file, `boxes` and `ignore` are x1, y1, x2, y2 in px. `landmarks`
has for each box x and y of the eyes, nose and corners of the mouth, image-left first, or null.
`ignore`, `source` and `landmarks` may be left out; other keys are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from extd.data.entries import (
    at,
    from_corners,
    from_landmarks,
    read_text,
    relative_name,
    to_corners,
    to_landmarks,
    to_name,
    to_size,
)
from extd.data.pixels import is_file
from extd.data.sample import Sample
from extd.files import atomic_write

NAME = "labels.jsonl"


def find_labels(path: Path) -> Path | None:
    """The label file that a path means: itself, or `labels.jsonl` in a folder or zip archive."""
    if path.suffix.lower() == ".jsonl" and is_file(path):
        return path
    return path / NAME if is_file(path / NAME) else None


def read_labels(path: Path, images: Path | None = None) -> list[Sample]:
    """The pictures of a `labels.jsonl` file.

    Args:
        path: the file; it may lie in a zip archive.
        images: folder that pictures are relative to, instead of the file's own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line cannot be understood; the message gives its number.
    """
    folder = path.parent if images is None else images
    pictures = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        with at(path, f"line {number}"):
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("it is no JSON object")
            # Some older files of this format have the longer name.
            ignore = entry.get("ignore", entry.get("ignore_boxes", []))
            boxes = from_corners(entry["boxes"])
            points = entry.get("landmarks")
            picture = Sample(
                folder / to_name(entry["image"]),
                to_size(entry["width"]),
                to_size(entry["height"]),
                boxes,
                from_corners(ignore),
                str(entry.get("source") or ""),
                None if points is None else from_landmarks(points, len(boxes)),
            )
        pictures.append(picture)
    return pictures


def write_labels(pictures: Iterable[Sample], path: Path) -> None:
    """Write a `labels.jsonl` file, which holds everything of a `Sample` exactly."""
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8") as file:
        for picture in pictures:
            entry: dict[str, object] = {
                "image": relative_name(picture.path, path.parent),
                "width": picture.width,
                "height": picture.height,
                "boxes": to_corners(picture.boxes),
                "ignore": to_corners(picture.ignore),
                "source": picture.source,
            }
            if picture.landmarks is not None:
                entry["landmarks"] = to_landmarks(picture.landmarks)
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")
