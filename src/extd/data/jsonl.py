"""`labels.jsonl`, the label format of this project: a JSON object a line, an image each.

    {"image": "images/a.jpg", "width": 640, "height": 480, "boxes": [[10, 20, 42, 64]],
     "ignore": [], "source": "street", "landmarks": [[18, 36, 33, 35, 26, 45, 20, 53, 32, 52]]}

`boxes` and `ignore` are x1, y1, x2, y2 in px. `landmarks` has for each box x and y of the eyes,
nose and corners of the mouth, image-left first, or null. `image` is relative to the file. All
others than `image` and `boxes` are optional; other keys are skipped.

What `extd detect --json` writes is read as well: `path` and `faces` instead of `image` and `boxes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extd.data.image_paths import find_detected, find_image
from extd.data.sample import (
    LIMIT,
    ReadOptions,
    Sample,
    are_pixels,
    find_file,
    from_xyxy,
    read_start,
    read_text,
    relative_name,
    to_name,
    to_rows,
    to_size,
    write_text,
)

FIRST = re.compile(r'\s*\{\s*"(image|path)"\s*:')
"""How these files begin, whatever their suffix."""


def find_jsonl(path: Path) -> Path | None:
    """The file that a path means: itself, or `labels.jsonl` in a folder."""
    if path.suffix.lower() == ".json" and path.is_file():
        return path if FIRST.match(read_start(path)) else None
    return find_file(path, "labels.jsonl")


def read_jsonl(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a file; see `datasets.read_dataset`."""
    samples = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            with options.entry(path, f"line {number}"):
                samples.append(_parse_line(line, options.images or path.parent))
    return samples


def _parse_line(line: str, folder: Path) -> Sample:
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError("it is not a JSON object")
    name = to_name(entry["path"] if "image" not in entry and "path" in entry else entry["image"])
    image = find_image(folder, name)
    if "image" not in entry:
        entry, image = _from_detections(entry), find_detected(folder, name)
    boxes = from_xyxy(entry["boxes"])
    points = entry.get("landmarks")
    sized = "width" in entry or "height" in entry
    return Sample(
        image,
        to_size(entry["width"]) if sized else 0,
        to_size(entry["height"]) if sized else 0,
        boxes,
        # Older files use the longer name.
        from_xyxy(entry.get("ignore", entry.get("ignore_boxes", []))),
        str(entry.get("source") or ""),
        None if points is None else _parse_landmarks(points, len(boxes)),
    )


def _from_detections(entry: dict[str, Any]) -> dict[str, Any]:
    """What `extd detect --json` found in an image, with the keys of labels."""
    if "error" in entry:
        raise ValueError(f"the image could not be read: {entry['error']}")
    if "frame" in entry:
        raise ValueError("it is about a frame of a video; save the frames as images first")
    faces = entry["faces"]
    points = [face.get("landmarks") for face in faces]
    return {
        "width": entry["width"],
        "height": entry["height"],
        "boxes": [face["box"] for face in faces],
        "landmarks": [own and [value for point in own for value in point] for own in points]
        if any(points)
        else None,
    }


def _parse_landmarks(rows: object, count: int) -> NDArray[np.float32]:
    if not isinstance(rows, list) or len(rows) != count:
        raise ValueError(f"landmarks are {rows!r}; give a list with one entry for each box")
    for row in rows:
        if row is not None and not are_pixels(row, 10):
            raise ValueError(f"{row!r} is not ten numbers below {LIMIT:g} px, or null")
    unknown = [np.nan] * 10
    return np.array([row or unknown for row in rows], np.float32).reshape(-1, 10)


def write_jsonl(samples: Iterable[Sample], path: Path) -> None:
    """Write a `labels.jsonl` file, which holds every label of a `Sample` exactly."""
    lines = []
    for sample in samples:
        entry: dict[str, object] = {
            "image": relative_name(sample.path, path.parent),
            "width": sample.width,
            "height": sample.height,
            "boxes": to_rows(sample.boxes),
            "ignore": to_rows(sample.ignore),
            "source": sample.source,
        }
        if sample.landmarks is not None:
            points = to_rows(sample.landmarks)
            entry["landmarks"] = [None if np.isnan(row).any() else row for row in points]
        lines.append(json.dumps(entry, separators=(",", ":")) + "\n")
    write_text(path, "".join(lines))
