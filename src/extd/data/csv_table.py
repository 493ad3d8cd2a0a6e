"""Labels as a CSV table with a row a face.

    image,width,height,x1,y1,x2,y2,ignore,source
    images/a.jpg,640,480,10,20,42,64,0,street
    images/empty.jpg,640,480,,,,,0,street

`image` is relative to the table, the corners are in px; an ignored region has `ignore` 1. An
image without faces has one row, without corners. The columns may stand in any order; width,
height, ignore and source are optional, and others are skipped.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from extd.data.sample import (
    Progress,
    Sample,
    at,
    from_corners,
    plain,
    read_text,
    relative_name,
    to_corners,
    to_name,
    to_size,
    with_sizes,
    write_text,
)

CORNERS = ("x1", "y1", "x2", "y2")
REQUIRED = ("image", *CORNERS)
COLUMNS = ("image", "width", "height", *CORNERS, "ignore", "source")
IGNORED = {"": False, "0": False, "false": False, "1": True, "true": True}
"""What the column `ignore` may hold, in any letter case."""


@dataclass(slots=True)
class _Rows:
    """What the rows of one image say; the size is 0 where they do not give it."""

    width: int
    height: int
    source: str
    boxes: list[list[float]] = field(default_factory=list)
    ignore: list[list[float]] = field(default_factory=list)


def read_csv(
    path: Path, images: Path | None = None, progress: Progress | None = None
) -> list[Sample]:
    """The samples of a CSV table, in the order of their first rows; see `datasets.read_dataset`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is malformed, two rows disagree about an image, or the table gives no
            sizes and no image can be read.
    """
    folder = path.parent if images is None else images
    samples = []
    for name, rows in _collect(path).items():
        with at(path, name):
            boxes, ignore = from_corners(rows.boxes), from_corners(rows.ignore)
        samples.append(Sample(folder / name, rows.width, rows.height, boxes, ignore, rows.source))
    return with_sizes(samples, path, progress)


def _collect(path: Path) -> dict[str, _Rows]:
    """The rows of a table by the names of images."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="", strict=True)
    found: dict[str, _Rows] = {}
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            raise ValueError(
                f"{path} has no column {missing[0]!r}; its first line must name "
                f"{', '.join(REQUIRED)}, separated by commas, but is {','.join(names)!r}"
            )
        reader.fieldnames = names
        for row in reader:
            with at(path, f"line {reader.line_num}"):
                _add(row, found)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.reader.line_num}: {error}") from error
    return found


def _add(row: dict[str, str], found: dict[str, _Rows]) -> None:
    """Add a row to what is known of its image."""
    if None in row:
        raise ValueError("it has more cells than the first line has names")
    name = to_name(row["image"])
    cells = [row.get("width", "").strip(), row.get("height", "").strip()]
    width, height = (to_size(float(cell)) if cell else 0 for cell in cells)
    if (width == 0) != (height == 0):
        raise ValueError("it has only one of width and height")
    mark = row.get("ignore", "").strip().lower()
    if mark not in IGNORED:
        raise ValueError(f"'ignore' is {mark!r}; give 0 or 1")
    new = _Rows(width, height, row.get("source", ""))
    rows = found.setdefault(name, new)
    if (rows.width, rows.height, rows.source) != (new.width, new.height, new.source):
        raise ValueError(
            f"{name} is {width} x {height} px of source {new.source!r} here, but "
            f"{rows.width} x {rows.height} px of source {rows.source!r} before"
        )
    corners = [row[column].strip() for column in CORNERS]
    if any(corners):
        (rows.ignore if IGNORED[mark] else rows.boxes).append([float(cell) for cell in corners])


def write_csv(samples: Iterable[Sample], path: Path) -> None:
    """Write a CSV table, which holds boxes, regions and sources exactly, but no landmarks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for sample in samples:
        name = relative_name(sample.path, path.parent)
        rows = [[*map(plain, box), "0"] for box in to_corners(sample.boxes)]
        rows += [[*map(plain, box), "1"] for box in to_corners(sample.ignore)]
        for row in rows or [["", "", "", "", "0"]]:
            writer.writerow([name, sample.width, sample.height, *row, sample.source])
    write_text(path, text.getvalue())
