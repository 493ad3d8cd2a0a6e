"""What a detector finds in one image: a frozen value that every other part takes and returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import index as whole
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from supervision import Detections


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the original image.
        score: probability that the box holds a face, 0 to 1.
        landmarks: x and y of the eyes, nose and corners of the mouth, image-left first, in pixels
            of the original image; None of a network that finds none.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Faces:
    """The faces of one image. `len`, indices and iteration give them as `Face` values.

    Attributes:
        boxes: float32 [N, 4], read-only; x1, y1, x2, y2 in pixels of the original image.
        scores: float32 [N], read-only; 0 to 1. A `Detector` gives the best first.
        width: width of the image in pixels.
        height: height of the image in pixels.
        landmarks: float32 [N, 5, 2], read-only; x and y of the eyes, nose and corners of the
            mouth, image-left first, in pixels of the original image, which they may leave. None
            of a network that finds none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    width: int
    height: int
    landmarks: NDArray[np.float32] | None

    def __init__(
        self,
        boxes: ArrayLike,
        scores: ArrayLike,
        width: int,
        height: int,
        landmarks: ArrayLike | None = None,
    ) -> None:
        """Copy and check the arrays.

        Raises:
            ValueError: a shape is wrong, a box is not finite or has x2 < x1 or y2 < y1, a score
                is outside 0 to 1, a landmark is not finite, or the image has no whole number of
                pixels.
        """
        try:
            width, height = whole(width), whole(height)
        except TypeError as error:
            raise ValueError(f"the image is {width} x {height} px; give whole numbers") from error
        boxes = np.array(boxes, dtype=np.float32)
        scores = np.array(scores, dtype=np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes have shape {boxes.shape}; expected (N, 4)")
        if scores.shape != boxes.shape[:1]:
            raise ValueError(f"scores have shape {scores.shape}; expected {boxes.shape[:1]}")
        if width < 1 or height < 1:
            raise ValueError(f"the image is {width} x {height} pixels; it needs at least one")
        proper = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
        if not proper.all():
            box = boxes[~proper][0].tolist()
            raise ValueError(f"box {box} needs finite x1 <= x2 and y1 <= y2")
        probable = (scores >= 0) & (scores <= 1)
        if not probable.all():
            raise ValueError(f"score {scores[~probable][0]} is outside 0 to 1")
        points = None if landmarks is None else np.array(landmarks, dtype=np.float32)
        if points is not None:
            if points.shape != (len(scores), 5, 2):
                raise ValueError(f"landmarks have shape {points.shape}; expected (N, 5, 2)")
            if not np.isfinite(points).all():
                raise ValueError("landmarks need finite coordinates")
            points.flags.writeable = False
        boxes.flags.writeable = False
        scores.flags.writeable = False
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "height", height)
        object.__setattr__(self, "landmarks", points)

    @classmethod
    def empty(cls, width: int, height: int) -> Faces:
        """No face in a image of that size in pixels."""
        return cls(np.empty((0, 4)), np.empty(0), width, height)

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any]) -> Faces: ...
    def __getitem__(self, index: int | slice | NDArray[Any]) -> Face | Faces:
        """One face, or some as a slice, a mask or an array of positions chooses them."""
        if isinstance(index, slice | np.ndarray):
            points = None if self.landmarks is None else self.landmarks[index]
            return Faces(self.boxes[index], self.scores[index], self.width, self.height, points)
        x1, y1, x2, y2 = self.boxes[index].tolist()
        landmarks = None
        if self.landmarks is not None:
            landmarks = tuple((x, y) for x, y in self.landmarks[index].tolist())
        return Face((x1, y1, x2, y2), float(self.scores[index]), landmarks)

    def __iter__(self) -> Iterator[Face]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Faces):
            return NotImplemented
        return (
            (self.width, self.height) == (other.width, other.height)
            and np.array_equal(self.boxes, other.boxes)
            and np.array_equal(self.scores, other.scores)
            and _equal(self.landmarks, other.landmarks)
        )

    def __reduce__(self) -> tuple[type[Faces], tuple[ArrayLike | int | None, ...]]:
        # Copies, too, are read-only.
        return Faces, (self.boxes, self.scores, self.width, self.height, self.landmarks)

    def __repr__(self) -> str:
        return f"Faces({len(self)} in {self.width} x {self.height} px)"

    def to_dict(self) -> list[dict[str, object]]:
        """For JSON: a `{"box": [x1, y1, x2, y2], "score": s}` a face, to 0.01 px and 0.0001.

        With landmarks there is also `"landmarks": [[x, y], ...]`.
        """
        rows: list[dict[str, object]] = []
        for face in self:
            box = [round(value, 2) for value in face.box]
            rows.append({"box": box, "score": round(face.score, 4)})
            if face.landmarks is not None:
                rows[-1]["landmarks"] = [[round(x, 2), round(y, 2)] for x, y in face.landmarks]
        return rows

    def to_supervision(self) -> Detections:
        """As a `supervision.Detections` of one class, 0; its arrays are copies.

        Raises:
            ImportError: the package supervision is missing.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise ImportError(
                "Faces.to_supervision needs the package supervision; run: pip install supervision"
            ) from error
        return Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=np.zeros(len(self), int),
        )


def _equal(a: NDArray[np.float32] | None, b: NDArray[np.float32] | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)
