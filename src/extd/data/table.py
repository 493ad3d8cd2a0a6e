"""Labels as a CSV table with a row a face.

    image,width,height,x1,y1,x2,y2,ignore,source
    images/a.jpg,640,480,10,20,42,64,0,street
    images/empty.jpg,640,480,,,,,0,street

`image` is relative to the table, the corners are in px; an ignored region has `ignore` 1. A
picture without faces has one row, without corners. The columns may stand in any order; width,
height, ignore and source may be left out, and others are passed over.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from extd.data.entries import (
    at,
    from_corners,
    plain,
    read_text,
    relative_name,
    to_corners,
    to_name,
    to_size,
)
from extd.data.pixels import Progress, is_file, with_sizes
from extd.data.sample import Sample
from extd.files import atomic_write

CORNERS = ("x1", "y1", "x2", "y2")
NEEDED = ("image", *CORNERS)
COLUMNS = ("image", "width", "height", *CORNERS, "ignore", "source")
IGNORED = {"": False, "0": False, "false": False, "1": True, "true": True}
"""What the column `ignore` may hold, in any letter case."""


def find_table(path: Path) -> Path | None:
    """The table that a path means: itself, or `labels.csv` in a folder or zip archive."""
    if path.suffix.lower() == ".csv" and is_file(path):
        return path
    return path / "labels.csv" if is_file(path / "labels.csv") else None


@dataclass(slots=True)
class _Rows:
    """What the rows of one picture say; the size is 0 where they do not tell it."""

    width: int
    height: int
    source: str
    boxes: list[list[float]] = field(default_factory=list)
    ignore: list[list[float]] = field(default_factory=list)


def read_table(
    path: Path, images: Path | None = None, progress: Progress | None = None
) -> list[Sample]:
    """The pictures of a CSV table, in the order of their first rows.

    Args:
        path: the table; it may lie in a zip archive.
        images: folder that pictures are relative to, instead of the table's own.
        progress: is told how many pictures' sizes were read, where the table does not tell them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row cannot be understood, two rows disagree about a picture, or no picture
            can be read to learn its size.
    """
    folder = path.parent if images is None else images
    pictures = []
    for name, rows in _collect(path).items():
        with at(path, name):
            boxes, ignore = from_corners(rows.boxes), from_corners(rows.ignore)
        pictures.append(Sample(folder / name, rows.width, rows.height, boxes, ignore, rows.source))
    return with_sizes(pictures, path, progress)


def _collect(path: Path) -> dict[str, _Rows]:
    """The rows of a table by the names of pictures."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="", strict=True)
    found: dict[str, _Rows] = {}
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in NEEDED if name not in names]
        if missing:
            raise ValueError(
                f"{path} has no column {missing[0]!r}; its first line is to name "
                f"{', '.join(NEEDED)}, separated by commas, but is {','.join(names)!r}"
            )
        reader.fieldnames = names
        for row in reader:
            with at(path, f"line {reader.line_num}"):
                _add(row, found)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.reader.line_num}: {error}") from error
    return found


def _add(row: dict[str, str], found: dict[str, _Rows]) -> None:
    """Add a row to what is known of its picture."""
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


def write_table(pictures: Iterable[Sample], path: Path) -> None:
    """Write a CSV table, which holds everything of a `Sample` exactly."""
    with (
        atomic_write(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for picture in pictures:
            name = relative_name(picture.path, path.parent)
            size = (picture.width, picture.height)
            rows = [[*map(plain, box), "0"] for box in to_corners(picture.boxes)]
            rows += [[*map(plain, box), "1"] for box in to_corners(picture.ignore)]
            for row in rows or [["", "", "", "", "0"]]:
                writer.writerow([name, *size, *row, picture.source])
