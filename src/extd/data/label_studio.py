"""Label Studio's "JSON" and "JSON-MIN": a list of tasks, with shapes in percent of their image.

Of several labels those of faces count. Rectangles and polygons give their bounds; other shapes are
skipped. If a task was annotated several times, the last annotation counts.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from extd.data.image_paths import find_folder, find_image
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
from extd.files import SUFFIXES

TASKS = re.compile(r'\s*\[\s*\{.*"(annotations|annotation_id|original_width)"\s*:', re.DOTALL)
"""How these files begin."""
UPLOAD = re.compile(r"[0-9a-f]{8}-(?=[^/]+$)")
"""What Label Studio puts before the name of an uploaded file."""
LABELS = ("rectanglelabels", "polygonlabels")


def find_label_studio(path: Path) -> Path | None:
    """The JSON file that a path means: itself, or the only one in a folder."""
    if path.is_file():
        return path if _is_label_studio(path) else None
    found = sorted(filter(_is_label_studio, path.glob("*.json")))
    if len(found) > 1:
        raise ValueError(f"{path} holds several exports; name one of {', '.join(map(str, found))}")
    return found[0] if found else None


def _is_label_studio(path: Path) -> bool:
    return path.suffix.lower() == ".json" and TASKS.match(read_start(path)) is not None


def read_label_studio(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a file; see `datasets.read_dataset`.

    Without `options.images`, the images are in `images` beside the file, or beside it; their names
    may lack the prefix of uploads.
    """
    text = read_text(path)
    with at(path):
        content = json.loads(text)
        if not isinstance(content, list):
            raise ValueError("it is not Label Studio's: it holds no list of tasks")
    tasks: list[tuple[str, list[dict[str, Any]]]] = []
    for number, task in enumerate(content, 1):
        with options.entry(path, f"task {number}"):
            tasks.append((_image_name(task), _shapes(task)))
    labels = {label for _, shapes in tasks for shape in shapes if (label := _label(shape))}
    with at(path):
        faces = face_classes(labels, options.classes) if labels else frozenset()
    images = options.images
    if images is None:
        names = [own for name, _ in tasks for own in (name, UPLOAD.sub("", name))]
        images = find_folder(path, names, [path.parent / "images", path.parent], path.parent)
    samples = []
    for name, shapes in tasks:
        boxes: list[list[float]] = []
        size = (0, 0)
        for number, shape in enumerate(shapes, 1):
            with options.entry(path, f"{name}, shape {number}"):
                size = to_size(shape["original_width"]), to_size(shape["original_height"])
                if _label(shape) in faces:
                    from_xyxy([box := _bounds(shape, size)])
                    boxes.append(box)
        found = find_image(images, name)
        bare = find_image(images, UPLOAD.sub("", name))
        image = bare if bare.is_file() and not found.is_file() else found
        samples.append(Sample(image, *size, from_xyxy(boxes), from_xyxy([])))
    return samples


def _image_name(task: dict[str, Any]) -> str:
    """The name of a task's image: of an upload, a local file or a URL."""
    for value in task.get("data", task).values():
        if isinstance(value, str):
            parts = urlsplit(value)
            local = parts.query.startswith("d=")
            name = unquote(f"/{parts.query[2:]}" if local else parts.path)
            if Path(name).suffix.lower() in SUFFIXES:
                return name
    raise ValueError("it names no image")


def _shapes(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The shapes of a task, each with its label and the size of the image."""
    if "annotations" not in task:  # JSON-MIN
        values = [value for value in task.values() if isinstance(value, list)]
        shapes = [shape for value in values for shape in value if isinstance(shape, dict)]
    else:
        done = [one for one in task["annotations"] if not one.get("was_cancelled")]
        if not done:
            raise ValueError("it is not annotated")
        shapes = [{**result, **result["value"]} for result in done[-1]["result"]]
    return [shape for shape in shapes if _label(shape)]


def _label(shape: dict[str, Any]) -> str:
    """The first label of a shape that has an area, or empty."""
    return next((str(shape[kind][0]) for kind in LABELS if shape.get(kind)), "")


def _bounds(shape: dict[str, Any], size: tuple[int, int]) -> list[float]:
    """x1, y1, x2, y2 of a shape in px."""
    if turned := shape.get("image_rotation"):
        raise ValueError(f"its image was turned by {turned} degrees; turn the file itself")
    if "points" in shape:
        points = np.array(shape["points"], float).reshape(-1, 2) / 100 * size
    else:
        x, y, width, height = (
            float(shape[key]) / 100 * side
            for key, side in zip(("x", "y", "width", "height"), size * 2, strict=True)
        )
        angle = math.radians(shape.get("rotation") or 0)
        along = np.array([math.cos(angle), math.sin(angle)]) * width
        down = np.array([-math.sin(angle), math.cos(angle)]) * height
        points = np.array([x, y]) + np.array([np.zeros(2), along, down, along + down])
    return [*points.min(0).tolist(), *points.max(0).tolist()]
