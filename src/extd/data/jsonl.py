"""`labels.jsonl`, the label format of this project: a JSON object a line.

    {"image": "images/a.jpg", "width": 640, "height": 480, "boxes": [[10, 20, 42, 64]],
     "ignore": [], "source": "street", "landmarks": [[18, 36, 33, 35, 26, 45, 20, 53, 32, 52]]}

`image` is relative to the label file; `boxes` and `ignore` are x1, y1, x2, y2 in px. `landmarks`
has for each box x and y of the eyes, nose and corners of the mouth, image-left first, or null.
`ignore`, `source` and `landmarks` are optional; other keys are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from extd.data.sample import (
    Sample,
    at,
    from_corners,
    from_landmarks,
    read_text,
    relative_name,
    to_corners,
    to_landmarks,
    to_name,
    to_size,
    write_text,
)


def read_jsonl(path: Path, images: Path | None = None) -> list[Sample]:
    """The samples of a `labels.jsonl` file; see `datasets.read_dataset`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is malformed; the message gives its number.
    """
    folder = path.parent if images is None else images
    samples = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            with at(path, f"line {number}"):
                samples.append(_parse(json.loads(line), folder))
    return samples


def _parse(entry: object, folder: Path) -> Sample:
    if not isinstance(entry, dict):
        raise ValueError("it is not a JSON object")
    boxes = from_corners(entry["boxes"])
    points = entry.get("landmarks")
    return Sample(
        folder / to_name(entry["image"]),
        to_size(entry["width"]),
        to_size(entry["height"]),
        boxes,
        # Older files use the longer name.
        from_corners(entry.get("ignore", entry.get("ignore_boxes", []))),
        str(entry.get("source") or ""),
        None if points is None else from_landmarks(points, len(boxes)),
    )


def write_jsonl(samples: Iterable[Sample], path: Path) -> None:
    """Write a `labels.jsonl` file, which holds every label of a `Sample` exactly."""
    lines = []
    for sample in samples:
        entry: dict[str, object] = {
            "image": relative_name(sample.path, path.parent),
            "width": sample.width,
            "height": sample.height,
            "boxes": to_corners(sample.boxes),
            "ignore": to_corners(sample.ignore),
            "source": sample.source,
        }
        if sample.landmarks is not None:
            entry["landmarks"] = to_landmarks(sample.landmarks)
        lines.append(json.dumps(entry, separators=(",", ":")) + "\n")
    write_text(path, "".join(lines))
