"""Detections in the text format of WIDER FACE, which its evaluation and test server read.

One folder per event and one file per image: a line with the image's name, a line with the number
of detections, then a line `x y w h score` for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.faces import Faces
from extd.files import atomic_write


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The detections in one image, as WIDER writes them.

    Attributes:
        boxes: float64 [N, 4], read-only; x, y, width, height in pixels, from the top left corner.
        scores: float64 [N], read-only; higher is more certain, in any range.

    Raises:
        ValueError: wrong shape, a value that is not finite, or a negative size.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        boxes = np.array(self.boxes, np.float64)
        scores = np.array(self.scores, np.float64)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
            raise ValueError(
                f"boxes and scores have shapes {boxes.shape} and {scores.shape}; "
                "expected (N, 4) and (N,)"
            )
        fault = _first_fault(boxes, scores)
        if fault is not None:
            raise ValueError(fault[1])
        for field, array in (("boxes", boxes), ("scores", scores)):
            array.flags.writeable = False
            object.__setattr__(self, field, array)

    def __len__(self) -> int:
        return len(self.scores)


def _first_fault(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[int, str] | None:
    """Index and fault of the first box (x, y, w, h) that cannot be evaluated, if there is one."""
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    faulty = np.flatnonzero(~(finite & (boxes[:, 2:] >= 0).all(axis=1)))
    if not len(faulty):
        return None
    index = int(faulty[0])
    values = (*boxes[index].tolist(), float(scores[index]))
    fault = "has a negative width or height" if finite[index] else "is not finite"
    return index, f"detection (x, y, w, h, score) = {values} {fault}"


def to_prediction(faces: Faces) -> Prediction:
    """`faces` in WIDER's form, rounded to 0.0001 px and 0.000001 to keep files short."""
    boxes = faces.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return Prediction(boxes.round(4), faces.scores.astype(np.float64).round(6))


def write_predictions(folder: Path, predictions: Mapping[str, Prediction]) -> None:
    """Write `folder`/event/name.txt for every key `event/name`, replacing files that exist.

    Values are written in full: reading them back gives the same predictions.
    """
    for key, found in predictions.items():
        lines = [f"{key}.jpg", str(len(found))]
        for row in np.column_stack([found.boxes, found.scores]).tolist():
            lines.append(" ".join(str(value) for value in row))
        with atomic_write(folder / f"{key}.txt") as partial:
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_predictions(folder: Path) -> dict[str, Prediction]:
    """Every `folder`/event/name.txt, keyed `event/name`.

    Raises:
        FileNotFoundError: the folder is missing or holds no such file.
        ValueError: a file has another format; the message gives its path and line.
    """
    paths = sorted(folder.glob("*/*.txt"))
    if not paths:
        raise FileNotFoundError(
            f"there are no predictions in {folder}; they are expected as {folder}/EVENT/IMAGE.txt"
        )
    return {f"{path.parent.name}/{path.stem}": read_prediction(path) for path in paths}


def read_prediction(path: Path) -> Prediction:
    """The detections in one file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has another format; the message gives its path and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from error
    name = lines[0].strip().rpartition("/")[2]
    if name not in {path.stem, f"{path.stem}.jpg"}:
        raise ValueError(f"{path}, line 1: the image is {name!r}, not {path.stem!r}")
    count = lines[1].strip() if len(lines) > 1 else ""
    if not count.isdecimal():
        raise ValueError(f"{path}, line 2: expected the number of detections, not {count!r}")
    if int(count) != len(lines) - 2:
        raise ValueError(f"{path}, line 2: says {count} detections, but {len(lines) - 2} follow")
    values = np.zeros((int(count), 5))
    for index, line in enumerate(lines[2:]):
        try:
            x, y, w, h, score = (float(word) for word in line.split())
        except ValueError as error:
            raise ValueError(
                f"{path}, line {index + 3}: expected x y w h score, not {line.strip()!r}"
            ) from error
        values[index] = x, y, w, h, score
    boxes, scores = values[:, :4], values[:, 4]
    fault = _first_fault(boxes, scores)
    if fault is not None:
        raise ValueError(f"{path}, line {fault[0] + 3}: {fault[1]}")
    return Prediction(boxes, scores)
