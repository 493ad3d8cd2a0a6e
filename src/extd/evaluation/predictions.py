"""Detections in the text format of WIDER FACE, which its evaluation and test server read.

One folder per event and one file per image: a line with the image's name, a line with the number
of detections, then a line `x y width height score` for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.data.sample import at, write_text
from extd.data.wider import format_entry, read_list
from extd.faces import Faces

FIELDS = ("x", "y", "width", "height", "score")


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
        rows = np.column_stack([boxes, scores])
        faulty = ~np.isfinite(rows).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
        if faulty.any():
            values = rows[faulty][0].tolist()
            raise ValueError(
                f"the detection {', '.join(FIELDS)} = {values} is not finite, or has a negative "
                "width or height"
            )
        for field, array in (("boxes", boxes), ("scores", scores)):
            array.flags.writeable = False
            object.__setattr__(self, field, array)

    def __len__(self) -> int:
        return len(self.scores)


def to_prediction(faces: Faces) -> Prediction:
    """`faces` in WIDER's form, rounded to 0.0001 px and 0.000001 to keep files short."""
    boxes = faces.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return Prediction(boxes.round(4), faces.scores.astype(np.float64).round(6))


def prediction_text(name: str, found: Prediction) -> str:
    """The text file of an image, from its name; values are written in full."""
    rows = np.column_stack([found.boxes, found.scores]).tolist()
    return format_entry(name, [" ".join(map(str, row)) for row in rows])


def write_predictions(folder: Path, predictions: Mapping[str, Prediction]) -> None:
    """Write `folder`/event/name.txt for every key `event/name`, replacing files that exist.

    Reading them back gives the same predictions.
    """
    for key, found in predictions.items():
        write_text(folder / f"{key}.txt", prediction_text(f"{key}.jpg", found))


def read_predictions(folder: Path) -> dict[str, Prediction]:
    """Every `folder`/event/name.txt, keyed `event/name`.

    Raises:
        FileNotFoundError: the folder is missing or holds no such file.
        ValueError: a file has another format; the message gives its path.
    """
    paths = sorted(folder.glob("*/*.txt"))
    if not paths:
        raise FileNotFoundError(
            f"there are no predictions in {folder}; they are expected as {folder}/EVENT/IMAGE.txt"
        )
    return {f"{path.parent.name}/{path.stem}": read_prediction(path) for path in paths}


def read_prediction(path: Path) -> Prediction:
    """The detections in one file; errors are those of `read_predictions`."""
    images = list(read_list(path, FIELDS))
    names = [name.strip().rpartition("/")[2] for name, _ in images]
    if names not in ([path.stem], [f"{path.stem}.jpg"]):
        raise ValueError(f"{path}: it is about {names or 'no image'}, not {path.stem!r} alone")
    with at(path):
        values = np.array(images[0][1]).reshape(-1, len(FIELDS))
        return Prediction(values[:, :4], values[:, 4])
