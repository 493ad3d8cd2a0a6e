"""`Faces`, what a detector finds in one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Table
    from supervision import Detections

LANDMARK_COLUMNS = tuple(
    f"{axis}_{point}"
    for point in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    for axis in "xy"
)
"""Columns of the landmarks in tables; left and right are those of the image."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face: its box, its probability, its landmarks as x and y, and its id; see `Faces`."""

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...] | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Faces:
    """The faces in one image, a sequence of `Face` values.

    Attributes:
        boxes: float32 [N, 4], read-only; x1, y1, x2, y2 in pixels of the original image.
        scores: float32 [N], read-only; 0 to 1. A `Detector` gives the best first.
        width: of the image in pixels.
        height: of the image in pixels.
        landmarks: float32 [N, 5, 2], read-only; x and y of the eyes, nose and mouth corners,
            image-left first, perhaps outside the image. None from a network that finds none.
        ids: int64 [N], read-only; the same for a face in all frames of a video, -1 where it is not
            known. None unless faces were tracked.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    width: int
    height: int
    landmarks: NDArray[np.float32] | None
    ids: NDArray[np.int64] | None

    def __init__(
        self,
        boxes: ArrayLike,
        scores: ArrayLike,
        width: int,
        height: int,
        landmarks: ArrayLike | None = None,
        ids: ArrayLike | None = None,
    ) -> None:
        """Copy and check the arrays.

        Raises:
            ValueError: a shape is wrong, a box is not finite or has x2 < x1 or y2 < y1, a score
                is outside 0 to 1, a landmark is not finite, or the image has no whole number of
                pixels.
        """
        sides = np.array([width, height])
        if sides.dtype.kind not in "iu" or (sides < 1).any():
            raise ValueError(f"the image is {width} x {height} px; give whole numbers from 1")
        boxes, scores = np.array(boxes, np.float32), np.array(scores, np.float32)
        points = None if landmarks is None else np.array(landmarks, np.float32)
        ids = None if ids is None else np.array(ids, np.int64)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes have shape {boxes.shape}; expected (N, 4)")
        if scores.shape != boxes.shape[:1]:
            raise ValueError(f"scores have shape {scores.shape}; expected {boxes.shape[:1]}")
        if points is not None and points.shape != (len(scores), 5, 2):
            raise ValueError(f"landmarks have shape {points.shape}; expected (N, 5, 2)")
        if ids is not None and ids.shape != scores.shape:
            raise ValueError(f"ids have shape {ids.shape}; expected {scores.shape}")
        wrong = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1))
        if wrong.any():
            raise ValueError(f"box {boxes[wrong][0].tolist()} needs finite x1 <= x2 and y1 <= y2")
        wrong = ~((scores >= 0) & (scores <= 1))
        if wrong.any():
            raise ValueError(f"score {scores[wrong][0]} is outside 0 to 1")
        if points is not None and not np.isfinite(points).all():
            raise ValueError("landmarks need finite coordinates")
        values = (boxes, scores, int(width), int(height), points, ids)
        for name, value in zip(self.__slots__, values, strict=True):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def empty(cls, width: int, height: int) -> Faces:
        """No face in an image of that size in pixels."""
        return cls(np.empty((0, 4)), np.empty(0), width, height)

    def join(self, more: Faces) -> Faces:
        """These faces and `more` of the same image, without landmarks."""
        if not len(more):
            return self
        boxes = np.concatenate([self.boxes, more.boxes])
        scores = np.concatenate([self.scores, more.scores])
        ids = [-1 if face.id is None else face.id for faces in (self, more) for face in faces]
        return Faces(boxes, scores, self.width, self.height, ids=ids)

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any]) -> Faces: ...
    def __getitem__(self, index: int | slice | NDArray[Any]) -> Face | Faces:
        """One face, or those that a slice, a mask or an array of indices picks."""
        if isinstance(index, slice | np.ndarray):
            points = None if self.landmarks is None else self.landmarks[index]
            ids = None if self.ids is None else self.ids[index]
            boxes, scores = self.boxes[index], self.scores[index]
            return Faces(boxes, scores, self.width, self.height, points, ids)
        x1, y1, x2, y2 = self.boxes[index].tolist()
        landmarks = None
        if self.landmarks is not None:
            landmarks = tuple((x, y) for x, y in self.landmarks[index].tolist())
        number = None if self.ids is None or self.ids[index] < 0 else int(self.ids[index])
        return Face((x1, y1, x2, y2), float(self.scores[index]), landmarks, number)

    def __iter__(self) -> Iterator[Face]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Faces):
            return NotImplemented
        return all(map(np.array_equal, self._values(), other._values()))

    def __reduce__(self) -> tuple[type[Faces], tuple[Any, ...]]:
        # So that copies are read-only, too.
        return Faces, self._values()

    def _values(self) -> tuple[Any, ...]:
        return self.boxes, self.scores, self.width, self.height, self.landmarks, self.ids

    def __repr__(self) -> str:
        return f"Faces({len(self)} in {self.width} x {self.height} px)"

    def to_dict(self) -> list[dict[str, object]]:
        """For JSON: `{"box": [x1, y1, x2, y2], "score": s}` per face, to 0.01 px and 0.0001.

        Tracked faces also have `"id"`, and faces with landmarks `"landmarks": [[x, y], ...]`.
        """
        rows: list[dict[str, object]] = []
        for face in self:
            box = [round(value, 2) for value in face.box]
            rows.append({"box": box, "score": round(face.score, 4)})
            if face.id is not None:
                rows[-1]["id"] = face.id
            if face.landmarks is not None:
                rows[-1]["landmarks"] = [[round(x, 2), round(y, 2)] for x, y in face.landmarks]
        return rows

    def to_supervision(self) -> Detections:
        """As a `supervision.Detections` of one class, 0; its arrays are copies.

        Raises:
            ImportError: the package supervision is missing.
        """
        detections: type[Detections] = _optional("supervision", "to_supervision").Detections
        classes = np.zeros(len(self), int)
        return detections(
            self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=classes,
            tracker_id=None if self.ids is None else self.ids.copy(),
        )

    def to_pandas(self) -> DataFrame:
        """As a `pandas.DataFrame` with a row per face.

        Its columns, float32, are x1, y1, x2, y2 and score, then x and y of each landmark, as in
        CSV files: `x_left_eye`, `y_left_eye` and so on; then `id`, int64, if faces have ids.

        Raises:
            ImportError: the package pandas is missing.
        """
        table: DataFrame = _optional("pandas", "to_pandas").DataFrame(self._columns())
        return table

    def to_arrow(self) -> Table:
        """As a `pyarrow.Table` with the columns of `to_pandas`.

        Raises:
            ImportError: the package pyarrow is missing.
        """
        return _optional("pyarrow", "to_arrow").table(self._columns())

    def _columns(self) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]]
        columns = dict(zip(("x1", "y1", "x2", "y2"), self.boxes.T.copy(), strict=True))
        columns["score"] = self.scores.copy()
        if self.landmarks is not None:
            columns |= zip(LANDMARK_COLUMNS, self.landmarks.reshape(-1, 10).T.copy(), strict=True)
        if self.ids is not None:
            columns["id"] = self.ids.copy()
        return columns


def _optional(package: str, method: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        message = f"Faces.{method} needs the package {package}; run: pip install {package}"
        raise ImportError(message) from error
