"""labelme and X-AnyLabeling: a JSON file of `shapes` for each image, beside it or in a folder.

Of several labels those of faces count. A shape gives its bounds; points and lines are skipped. A
`difficult` shape is an ignored region. Images without a JSON file are not in the set.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from extd.data.image_paths import find_own
from extd.data.sample import (
    ReadOptions,
    Sample,
    at,
    face_classes,
    from_xyxy,
    read_start,
    read_text,
    to_size,
)

SHAPES = re.compile(r'"shapes"\s*:')
"""A key of these files that is near their beginning."""
FOLDERS = ("annotations", "labels", "json")
"""What people call the folder of the JSON files beside that of images."""
AREAS = frozenset({"rectangle", "polygon", "circle", "rotation"})
"""Shapes that have an area."""


def find_labelme(path: Path) -> Path | None:
    """The JSON file, or folder of JSON files, that a path means."""
    if path.is_file():
        return path if _is_labelme(path) else None
    for folder in (path, *(path / name for name in FOLDERS)):
        if any(map(_is_labelme, folder.glob("*.json"))):
            return folder
    return None


def _is_labelme(path: Path) -> bool:
    return path.suffix.lower() == ".json" and SHAPES.search(read_start(path)) is not None


def read_labelme(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of one file or of all in a folder; see `datasets.read_dataset`.

    Without `options.images`, names of images are relative to their JSON file, as labelme has it.
    """
    files = [path] if path.is_file() else sorted(filter(_is_labelme, path.glob("*.json")))
    contents: dict[Path, Any] = {}
    for file in files:
        with options.entry(file, "the whole file"):
            content = json.loads(read_text(file))
            if not isinstance(content, dict) or not isinstance(content["shapes"], list):
                raise ValueError("it is not labelme's: it has no list of shapes")
            contents[file] = content
    shapes = [one for content in contents.values() for one in content["shapes"]]
    labels = {str(one["label"]) for one in shapes if isinstance(one, dict) and "label" in one}
    with at(path):
        faces = face_classes(labels, options.classes) if labels else frozenset()
    samples = []
    for file, content in contents.items():
        with options.entry(file, "the whole file"):
            samples.append(_sample(file, content, faces, options))
    return samples


def _sample(
    file: Path, content: dict[str, Any], faces: frozenset[str], options: ReadOptions
) -> Sample:
    boxes: list[list[float]] = []
    ignore: list[list[float]] = []
    sized = content.get("imageWidth") and content.get("imageHeight")
    size = (to_size(content["imageWidth"]), to_size(content["imageHeight"])) if sized else (0, 0)
    for number, shape in enumerate(content["shapes"]):
        with options.entry(file, f"shapes[{number}]"):
            area = (shape.get("shape_type") or "polygon") in AREAS
            if str(shape["label"]) in faces and area:
                box = _bounds(shape)
                from_xyxy([box])
                (ignore if shape.get("difficult") else boxes).append(box)
    folder = options.images or file.parent
    path = find_own(folder, str(content.get("imagePath") or ""), file.stem)
    return Sample(path, *size, from_xyxy(boxes), from_xyxy(ignore))


def _bounds(shape: dict[str, Any]) -> list[float]:
    """x1, y1, x2, y2 of a shape."""
    points = shape["points"]
    if shape.get("shape_type") == "circle":
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return [x - radius, y - radius, x + radius, y + radius]
    if len(points) < 2:
        raise ValueError(f"{points!r} are fewer than two points")
    xs, ys = zip(*points, strict=True)
    return [min(xs), min(ys), max(xs), max(ys)]
