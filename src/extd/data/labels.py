"""`labels.jsonl` and `labels.csv`, the label formats of this project.

The first has a JSON object a line, an image each:

    {"image": "images/a.jpg", "width": 640, "height": 480, "boxes": [[10, 20, 42, 64]],
     "ignore": [], "source": "street", "landmarks": [[18, 36, 33, 35, 26, 45, 20, 53, 32, 52]]}

`boxes` and `ignore` are x1, y1, x2, y2 in px. `landmarks` has for each box x and y of the eyes,
nose and corners of the mouth, image-left first, or null. `ignore`, `source` and `landmarks` are
optional; other keys are skipped.

The second has a row a face, or a region to ignore, or an image without faces:

    image,width,height,x1,y1,x2,y2,ignore,source
    images/a.jpg,640,480,10,20,42,64,0,street
    images/empty.jpg,640,480,,,,,0,street

Columns may stand in any order; width, height, ignore and source are optional, others are skipped.
In both, `image` is relative to the label file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.data.sample import (
    LIMIT,
    ReadOptions,
    Sample,
    are_pixels,
    at,
    from_xyxy,
    plain,
    read_text,
    relative_name,
    to_name,
    to_rows,
    to_size,
    write_text,
)

CORNERS = ("x1", "y1", "x2", "y2")
REQUIRED = ("image", *CORNERS)
COLUMNS = ("image", "width", "height", *CORNERS, "ignore", "source")
IGNORED = {"": False, "0": False, "false": False, "1": True, "true": True}
"""What the column `ignore` may hold, in any letter case."""


def read_jsonl(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a `labels.jsonl` file; see `datasets.read_dataset`."""
    folder = options.images or path.parent
    samples = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            with options.entry(path, f"line {number}"):
                samples.append(_parse_line(line, folder))
    return samples


def _parse_line(line: str, folder: Path) -> Sample:
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError("it is not a JSON object")
    boxes = from_xyxy(entry["boxes"])
    points = entry.get("landmarks")
    return Sample(
        folder / to_name(entry["image"]),
        to_size(entry["width"]),
        to_size(entry["height"]),
        boxes,
        # Older files use the longer name.
        from_xyxy(entry.get("ignore", entry.get("ignore_boxes", []))),
        str(entry.get("source") or ""),
        None if points is None else _parse_landmarks(points, len(boxes)),
    )


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


def read_csv(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a CSV table, in the order of their first rows; see `datasets.read_dataset`."""
    folder = options.images or path.parent
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="", strict=True)
    found: dict[Path, list[Sample]] = {}
    try:
        reader.fieldnames = names = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            raise ValueError(
                f"{path} has no column {missing[0]!r}; its first line must name "
                f"{', '.join(REQUIRED)}, separated by commas, but is {','.join(names)!r}"
            )
        for row in reader:
            with at(path, f"line {reader.line_num}"):
                sample = _parse_row(row, folder)
                rows = found.setdefault(sample.path, [])
                rows.append(sample)
                if (before := _about(rows[0])) != (now := _about(sample)):
                    raise ValueError(f"{row['image']} is {now} here, but {before} before")
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.reader.line_num}: {error}") from error
    return [
        replace(
            rows[0],
            boxes=np.concatenate([row.boxes for row in rows]),
            ignore=np.concatenate([row.ignore for row in rows]),
        )
        for rows in found.values()
    ]


def _about(row: Sample) -> str:
    return f"{row.width} x {row.height} px of source {row.source!r}"


def _parse_row(row: dict[str, str], folder: Path) -> Sample:
    """The image of a row, with its face, its region to ignore, or neither."""
    if None in row:
        raise ValueError("it has more cells than the first line has names")
    width, height = (row.get(name, "").strip() for name in ("width", "height"))
    if bool(width) != bool(height):
        raise ValueError("it has only one of width and height")
    size = (to_size(float(width)), to_size(float(height))) if width else (0, 0)
    mark = row.get("ignore", "").strip().lower()
    if mark not in IGNORED:
        raise ValueError(f"'ignore' is {mark!r}; give 0 or 1")
    corners = [row[column].strip() for column in CORNERS]
    box = from_xyxy([[float(cell) for cell in corners]] if any(corners) else [])
    boxes, ignore = (box[:0], box) if IGNORED[mark] else (box, box[:0])
    return Sample(folder / to_name(row["image"]), *size, boxes, ignore, row.get("source", ""))


def write_csv(samples: Iterable[Sample], path: Path) -> None:
    """Write a CSV table, which holds boxes, regions and sources exactly, but no landmarks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for sample in samples:
        name = relative_name(sample.path, path.parent)
        rows = [[*map(plain, box), "0"] for box in to_rows(sample.boxes)]
        rows += [[*map(plain, box), "1"] for box in to_rows(sample.ignore)]
        for row in rows or [["", "", "", "", "0"]]:
            writer.writerow([name, sample.width, sample.height, *row, sample.source])
    write_text(path, text.getvalue())
