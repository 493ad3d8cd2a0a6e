"""A labeled image, and what the label formats share: text, checked fields, names of files."""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes
from extd.faces import Faces
from extd.files import atomic_write

LIMIT = 1e9
"""Coordinates in px must be smaller."""
START = 8192
"""Bytes of a file that are looked at to tell its format."""
FACE = "face"
"""The class of faces, in formats that have classes."""
FACES = frozenset(
    # /m/0dzct is Open Images' name; those of masks are the usual ones of sets about masks.
    {FACE, "faces", "human face", "human faces", "/m/0dzct"}
    | {"with mask", "without mask", "mask weared incorrect"}
)
"""Names of classes of faces in other sets, in lower case, with spaces for other separators."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labeled image, as a label file describes it."""

    path: Path
    width: int  # upright, px; 0 x 0 if the size is unknown
    height: int
    boxes: Boxes  # N x 4 float32 faces, xyxy px; may reach beyond the image or have no area
    ignore: Boxes  # M x 4 float32 regions that count neither as face nor as background
    source: str = ""  # the collection it comes from
    # N x 10 float32, x and y of the eyes, nose and corners of the mouth, image-left first, px; NaN
    # where a face has none. None where the label file has none at all.
    landmarks: NDArray[np.float32] | None = None
    scores: NDArray[np.float32] | None = None  # N float32, 0 to 1, of a detector; None for labels


def in_pixels(sample: Sample) -> Sample:
    """A sample whose coordinates are fractions of its size, in px."""
    size = np.array([sample.width, sample.height])
    points = sample.landmarks
    return replace(
        sample,
        boxes=(sample.boxes * np.tile(size, 2)).astype(np.float32),
        ignore=(sample.ignore * np.tile(size, 2)).astype(np.float32),
        landmarks=None if points is None else (points * np.tile(size, 5)).astype(np.float32),
    )


def landmark_array(rows: Sequence[Sequence[float] | None]) -> NDArray[Any] | None:
    """Landmarks of N faces as N x 10 float64, NaN for None; None where all of them are None."""
    unknown = [math.nan] * 10
    return np.array([unknown if row is None else row for row in rows]) if any(rows) else None


def detected(path: Path, faces: Faces) -> Sample:
    """The faces that a detector found in an image as a sample, to 0.01 px."""
    ignore = np.empty((0, 4), np.float32)
    boxes = faces.boxes.round(2)
    return Sample(path, faces.width, faces.height, boxes, ignore, scores=faces.scores)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How labels are read."""

    report: Callable[[Path, str], None]  # is told the label file, and what is left out and why
    images: Path | None = None  # folder of the images, if not the format's own
    classes: Sequence[str] = ()  # the classes of faces; none for those of `face_classes`

    @contextmanager
    def entry(self, path: Path, place: str) -> Iterator[None]:
        """Leave out an entry of the file that is malformed, and report it."""
        try:
            with at(place):
                yield
        except ValueError as error:
            self.report(path, str(error))


@contextmanager
def at(path: Path | str, place: str = "") -> Iterator[None]:
    """Raise errors about a label file's content as a ValueError that names the file and place."""
    where = f"{path}, {place}" if place else str(path)
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{where}: {error.args[0]!r} is missing") from error
    except (IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: it is nested too deeply") from error


def find_file(path: Path, name: str) -> Path | None:
    """`path` itself if it has the suffix of `name`, or the file `name` in the folder `path`."""
    if path.suffix.lower() == Path(name).suffix and path.is_file():
        return path
    return path / name if (path / name).is_file() else None


def read_text(path: Path) -> str:
    """The text of a label file in UTF-8, or in UTF-16 with its mark.

    Bytes that are neither, as in file names, are kept.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "surrogateescape")


def read_start(path: Path) -> str:
    """The first kilobytes of a label file, which tell its format."""
    with path.open("rb") as file:
        data = file.read(START)
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf16 else "utf-8-sig", "ignore")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, with the bytes that `read_text` kept; folders are made."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def write_table(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV table as `write_text` writes text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def from_xyxy(rows: object) -> Boxes:
    """Lists of x1, y1, x2, y2 in px as N x 4 boxes; they may have no area or lie anywhere.

    Raises:
        ValueError: these are not lists of four numbers below `LIMIT`.
    """
    if not isinstance(rows, list):
        raise ValueError(f"{rows!r} is not a list of boxes")
    for row in rows:
        if not are_pixels(row, 4):
            raise ValueError(f"{row!r} is not a box of four numbers below {LIMIT:g} px")
    return np.array(rows, np.float64).reshape(-1, 4).astype(np.float32)


def from_xywh(rows: list[list[float]]) -> Boxes:
    """Lists of x, y, width, height in px as N x 4 boxes; otherwise as `from_xyxy`."""
    from_xyxy(rows)
    boxes = np.array(rows, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32)


def are_pixels(row: object, count: int) -> bool:
    """Whether this is a list of that many coordinates; NaN is none."""
    return (
        isinstance(row, list)
        and len(row) == count
        and all(type(value) in {int, float} and abs(value) < LIMIT for value in row)
    )


def to_rows(values: NDArray[np.float32]) -> list[list[float]]:
    """Boxes or landmarks as rows, in the fewest decimals that stand for the same float32."""
    return [[float(str(value)) for value in row] for row in values]


def to_xywh(boxes: Boxes) -> list[list[float]]:
    """Rows of x, y, width, height to a millionth of a pixel."""
    return [[x1, y1, round(x2 - x1, 6), round(y2 - y1, 6)] for x1, y1, x2, y2 in to_rows(boxes)]


def plain(value: float) -> str:
    """A number without exponent, and without `.0` where it is whole."""
    return np.format_float_positional(value, trim="-")


def to_size(value: object) -> int:
    """Check a width or height in px: a whole number above 0, or it is a ValueError."""
    if not isinstance(value, int | float) or not 1 <= value < LIMIT or value != int(value):
        raise ValueError(f"a size of {value!r} px; give a whole number above 0")
    return int(value)


def to_name(value: object) -> str:
    """Check the name of an image: text that is not empty, or it is a ValueError."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not the name of an image")
    return value


def relative_name(path: Path, folder: Path) -> str:
    """How a label file in `folder` names an image: relative to the folder, with slashes."""
    # Without links, because `..` of a linked folder leads elsewhere.
    return Path(os.path.relpath(absolute(path), folder.resolve())).as_posix()


def absolute(path: Path) -> Path:
    """The path of an image without `..` or links, except that it may be a link itself."""
    return path.parent.resolve() / path.name


def text_files(folder: Path, images: Sequence[Path]) -> list[Path]:
    """The file in `folder` for the text of each image: `a/b.txt` for `a/b.jpg`.

    Raises:
        ValueError: two images differ only in suffix or letter case, so they would share a file.
    """
    owners: dict[str, Path] = {}
    for image in images:
        # Some file systems ignore letter case.
        other = owners.setdefault(str(image.with_suffix("")).casefold(), image)
        if other is not image:
            raise ValueError(f"{other} and {image} would have the same text file; rename one")
    return [folder / image.with_suffix(".txt") for image in images]


def face_classes(names: Iterable[str], chosen: Sequence[str] = ()) -> frozenset[str]:
    """The classes of faces among all classes, in any letter case.

    They are those chosen, or else those of `FACES`, or else the only one there is.

    Raises:
        ValueError: there are several and none is called so, or one that was chosen is missing.
    """
    every = frozenset(names)
    known = ", ".join(map(repr, sorted(every))) or "none"
    wanted = frozenset(map(_normalized, chosen)) or FACES
    faces = frozenset(name for name in every if _normalized(name) in wanted)
    missing = wanted - frozenset(map(_normalized, every))
    if chosen and missing:
        raise ValueError(f"there is no class {sorted(missing)[0]!r}; there are {known}")
    if not faces and len(every) != 1:
        raise ValueError(
            f"none of the classes is called {FACE!r}; there are {known}; name those of faces, as "
            "with extd data convert --class"
        )
    return faces or every


def _normalized(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().casefold())
