"""`labels.jsonl` and `labels.csv`, the label formats of this project.

The first has a JSON object a line, an image each:

    {"image": "images/a.jpg", "width": 640, "height": 480, "boxes": [[10, 20, 42, 64]],
     "ignore": [], "source": "street", "landmarks": [[18, 36, 33, 35, 26, 45, 20, 53, 32, 52]]}

`boxes` and `ignore` are x1, y1, x2, y2 in px. `landmarks` has for each box x and y of the eyes,
nose and corners of the mouth, image-left first, or null. `image` is relative to the file. All
others than `image` and `boxes` are optional; other keys are skipped.

What `extd detect --json` writes is read as well: `path` and `faces` instead of `image` and `boxes`.

The second has a row a face, or a region to ignore, or an image without faces:

    image,width,height,x1,y1,x2,y2,ignore,source
    images/a.jpg,640,480,10,20,42,64,0,street
    images/empty.jpg,640,480,,,,,0,street

Columns may stand in any order and be separated by commas, semicolons or tabs; `image` is relative
to the file. Only the image and the corners are needed. Other tools' names of these columns are
known (`COLUMN_NAMES`), and the fractions of Open Images. Keras-retinanet's tables have no names:
image, corners and class. What `extd detect --csv` writes is read as well, with its landmarks. Where
there is a column of classes, those of faces count.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
    at,
    face_classes,
    find_file,
    from_xyxy,
    plain,
    read_start,
    read_text,
    relative_name,
    to_name,
    to_rows,
    to_size,
    write_table,
    write_text,
)
from extd.faces import LANDMARK_COLUMNS

FIRST = re.compile(r'\s*\{\s*"(image|path)"\s*:')
"""How these files begin, whatever their suffix."""
CORNERS = ("x1", "y1", "x2", "y2")
REQUIRED = ("image", *CORNERS)
COLUMNS = ("image", "width", "height", *CORNERS, "ignore", "source")
NAMELESS = (*REQUIRED, "class")
"""The columns of tables without names."""
FRACTIONS = "imageid"
"""Column of Open Images, whose corners are fractions of the image's size."""
COLUMN_NAMES = {
    "image": ("image", "filename", "file_name", "file", "path", "image_path", FRACTIONS),
    "x1": ("x1", "xmin", "x_min"),
    "y1": ("y1", "ymin", "y_min"),
    "x2": ("x2", "xmax", "x_max"),
    "y2": ("y2", "ymax", "y_max"),
    "width": ("width", "image_width"),
    "height": ("height", "image_height"),
    "ignore": ("ignore", "isgroupof", "difficult", "iscrowd"),
    "source": ("source",),
    "class": ("class", "labelname", "label", "class_name", "category"),
    "frame": ("frame",),
}
"""What tools call the columns, in lower case; the first that is there counts."""
MARKS = {"": False, "false": False, "true": True}
"""What the column `ignore` may hold besides 0, 1 and Open Images' -1, in any letter case."""


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


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is laid out."""

    columns: dict[str, int]  # the index of each column
    delimiter: str  # what separates the cells
    width: int  # how many cells a row has
    named: bool = True  # whether the first line names the columns
    detected: bool = False  # whether `extd detect --csv` wrote it
    points: Sequence[int] = ()  # the indices of the columns of landmarks, if any


def are_fractions(path: Path) -> bool:
    """Whether the corners in a table are fractions of the image's size."""
    return FRACTIONS in _header(read_start(path))[1]


def _header(text: str) -> tuple[str, list[str]]:
    """What separates the cells of a table, and those of its first line in lower case."""
    line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=line.count)
    return delimiter, [cell.strip(' "\r').casefold() for cell in line.split(delimiter)]


def _find_layout(path: Path, text: str) -> Layout:
    delimiter, header = _header(text)
    columns: dict[str, int] = {}
    for column, names in COLUMN_NAMES.items():
        known = [name for name in names if name in header]
        columns |= {column: header.index(known[0])} if known else {}
    if not columns and len(header) == len(NAMELESS) and _are_corners(header[1:5]):
        named = dict(zip(NAMELESS, range(len(NAMELESS)), strict=True))
        return Layout(named, delimiter, len(header), named=False)
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise ValueError(
            f"{path} has no column {missing[0]!r}; its first line must name "
            f"{', '.join(REQUIRED)}, but is {delimiter.join(header)!r}"
        )
    if FRACTIONS in header:
        # There it is how the box was drawn, not a collection.
        columns.pop("source", None)
    points = [header.index(name) for name in LANDMARK_COLUMNS if name in header]
    return Layout(
        columns,
        delimiter,
        len(header),
        detected={"path", "score"} <= {*header},
        points=points if len(points) == len(LANDMARK_COLUMNS) else (),
    )


def _are_corners(cells: Sequence[str]) -> bool:
    return not any(cells) or all(cell.replace(".", "").isdecimal() for cell in cells)


def read_csv(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a table, in the order of their first rows; see `datasets.read_dataset`."""
    text = read_text(path)
    layout = _find_layout(path, text)
    if options.classes and "class" not in layout.columns:
        raise ValueError(f"{path} has no column of classes; leave out --class")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, strict=True)
    found: dict[Path, list[tuple[str, Sample]]] = {}
    try:
        for cells in reader:
            if not cells or (layout.named and reader.line_num == 1):
                continue
            with options.entry(path, f"line {reader.line_num}"):
                kind, sample = _parse_row(cells, layout, options.images or path.parent)
                rows = found.setdefault(sample.path, [])
                if rows and (before := _about(rows[0][1])) != (now := _about(sample)):
                    raise ValueError(f"{sample.path.name} is {now} here, but {before} before")
                rows.append((kind, sample))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    classes = {kind for rows in found.values() for kind, _ in rows if kind}
    with at(path):
        faces = face_classes(classes, options.classes) if classes else frozenset({""})
    return [_merge(rows, faces) for rows in found.values()]


def _merge(rows: Sequence[tuple[str, Sample]], faces: frozenset[str]) -> Sample:
    """One sample of the rows of an image; boxes of other classes are not in it."""
    first = rows[0][1]
    own = [sample for kind, sample in rows if kind in faces]
    points = [sample.landmarks for sample in own if sample.landmarks is not None]
    return replace(
        first,
        # A row has landmarks, or NaN, if and only if it has a box.
        landmarks=np.concatenate(points) if points else None,
        boxes=np.concatenate([first.boxes[:0], *(sample.boxes for sample in own)]),
        ignore=np.concatenate([first.ignore[:0], *(sample.ignore for sample in own)]),
    )


def _about(row: Sample) -> str:
    return f"{row.width} x {row.height} px of source {row.source!r}"


def _parse_row(cells: list[str], layout: Layout, folder: Path) -> tuple[str, Sample]:
    """The class of a row, and its image with its face, its region to ignore, or neither."""
    if len(cells) > layout.width:
        raise ValueError("it has more cells than the first line")
    row = {name: cells[i] for name, i in layout.columns.items() if i < len(cells)}
    if row.get("frame", "").strip():
        raise ValueError("it is about a frame of a video; save the frames as images first")
    width, height = (row.get(name, "").strip() for name in ("width", "height"))
    if bool(width) != bool(height):
        raise ValueError("it has only one of width and height")
    size = (to_size(float(width)), to_size(float(height))) if width else (0, 0)
    corners = [row.get(name, "").strip() for name in CORNERS]
    if layout.delimiter != ",":
        corners = [corner.replace(",", ".") for corner in corners]
    box = from_xyxy([[float(corner) for corner in corners]] if any(corners) else [])
    boxes, ignore = (box[:0], box) if _is_ignored(row.get("ignore", "")) else (box, box[:0])
    name = to_name(row.get("image", ""))
    image = (find_detected if layout.detected else find_image)(folder, name)
    points = None
    if layout.points and len(boxes):
        own = [cells[i].strip() if i < len(cells) else "" for i in layout.points]
        points = _parse_landmarks([[float(cell) for cell in own] if all(own) else None], 1)
    sample = Sample(image, *size, boxes, ignore, row.get("source", ""), points)
    return row.get("class", "").strip(), sample


def _is_ignored(cell: str) -> bool:
    mark = cell.strip().lower()
    if mark in MARKS:
        return MARKS[mark]
    if mark.removesuffix(".0") not in {"-1", "0", "1"}:
        raise ValueError(f"'ignore' is {mark!r}; give 0 or 1")
    return mark.startswith("1")


def write_csv(samples: Iterable[Sample], path: Path) -> None:
    """Write a CSV table, which holds boxes, regions and sources exactly, but no landmarks."""
    table: list[Sequence[object]] = [COLUMNS]
    for sample in samples:
        name = relative_name(sample.path, path.parent)
        rows = [[*map(plain, box), "0"] for box in to_rows(sample.boxes)]
        rows += [[*map(plain, box), "1"] for box in to_rows(sample.ignore)]
        for row in rows or [["", "", "", "", "0"]]:
            table.append([name, sample.width, sample.height, *row, sample.source])
    write_table(path, table)
