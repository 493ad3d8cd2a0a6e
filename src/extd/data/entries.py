"""Entries of label files: what is read is checked, and numbers are written exactly."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes
from extd.data.pixels import read_bytes

LIMIT = 1e9
"""Px from which a coordinate is no number of pixels any more."""
FACE = "face"
"""The class of faces, where a format has classes."""


@contextmanager
def at(path: Path | str, place: str = "") -> Iterator[None]:
    """Within it, an error about an entry names its label file and the place in it.

    Raises:
        ValueError: in place of an error about a value, its type, its depth, or a missing one.
    """
    where = f"{path}, {place}" if place else str(path)
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{where}: {error.args[0]!r} is missing") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: it is nested too deeply") from error


def read_text(path: Path) -> str:
    """The text of a label file; names in it keep their bytes even where they are no UTF-8.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return read_bytes(path).decode("utf-8-sig", "surrogateescape")


def from_corners(rows: object) -> Boxes:
    """N rows of x1, y1, x2, y2 in px as boxes; they may have no area or lie anywhere.

    Raises:
        ValueError: these are no rows of four numbers.
    """
    return _checked(rows).astype(np.float32)


def from_corner_and_size(rows: object) -> Boxes:
    """N rows of x, y, width, height in px as boxes; they may have no area or lie anywhere.

    Raises:
        ValueError: these are no rows of four numbers.
    """
    boxes = _checked(rows)
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32)


def _checked(rows: object) -> NDArray[np.float64]:
    if not isinstance(rows, list):
        raise ValueError(f"{rows!r} is no list of boxes")
    for row in rows:
        # Written so that NaN fails too.
        if not (
            isinstance(row, list)
            and len(row) == 4
            and all(type(value) in {int, float} and abs(value) < LIMIT for value in row)
        ):
            raise ValueError(f"{row!r} is no box of four numbers below {LIMIT:g} px")
    return np.array(rows, np.float64).reshape(-1, 4)


def from_landmarks(rows: object, count: int) -> NDArray[np.float32]:
    """Rows of ten numbers or None as `count` x 10 float32, NaN for None.

    Raises:
        ValueError: these are no such rows, or another number of them.
    """
    if not isinstance(rows, list) or len(rows) != count:
        raise ValueError(f"landmarks are {rows!r}; give a list with one entry for each box")
    points = np.full((count, 10), np.nan, np.float32)
    for index, row in enumerate(rows):
        if row is None:
            continue
        if not (
            isinstance(row, list)
            and len(row) == 10
            and all(type(value) in {int, float} and abs(value) < LIMIT for value in row)
        ):
            raise ValueError(f"{row!r} are no landmarks of ten numbers below {LIMIT:g} px, or null")
        points[index] = row
    return points


def to_landmarks(points: NDArray[np.float32]) -> list[list[float] | None]:
    """The rows that `from_landmarks` reads."""
    return [None if np.isnan(row).any() else [float(str(value)) for value in row] for row in points]


def to_corners(boxes: Boxes) -> list[list[float]]:
    """Rows of x1, y1, x2, y2 in the fewest decimals that stand for the same float32."""
    return [[float(str(value)) for value in box] for box in boxes]


def to_corner_and_size(boxes: Boxes) -> list[list[float]]:
    """Rows of x, y, width, height to a millionth of a pixel."""
    return [[x1, y1, round(x2 - x1, 6), round(y2 - y1, 6)] for x1, y1, x2, y2 in to_corners(boxes)]


def plain(value: float) -> str:
    """A number without exponent, and without `.0` where it is whole."""
    return np.format_float_positional(value, trim="-")


def to_size(value: object) -> int:
    """A width or height in px.

    Raises:
        ValueError: it is no whole number above 0.
    """
    if not isinstance(value, int | float) or not 1 <= value < LIMIT or value != int(value):
        raise ValueError(f"a size of {value!r} px; give a whole number above 0")
    return int(value)


def to_name(value: object) -> str:
    """The name of a picture.

    Raises:
        ValueError: it is no text, or an empty one.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no name of a picture")
    return value


def relative_name(path: Path, folder: Path) -> str:
    """How a label file in `folder` names a picture: relative to the folder, with slashes."""
    # Without links, because `..` of a linked folder leads elsewhere.
    whole = path.parent.resolve() / path.name
    return Path(os.path.relpath(whole, folder.resolve())).as_posix()


def face_classes(names: Iterable[str]) -> frozenset[str]:
    """The classes of faces among all classes: `face` in any letter case, or the only one.

    Raises:
        ValueError: there are several and none is called so.
    """
    every = frozenset(names)
    faces = frozenset(name for name in every if name.strip().casefold() == FACE)
    if not faces and len(every) != 1:
        known = ", ".join(map(repr, sorted(every))) or "none"
        raise ValueError(f"none of its classes is called {FACE!r}, there are {known}")
    return faces or every
