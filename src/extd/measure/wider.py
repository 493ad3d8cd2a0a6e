"""Average precision as the official evaluation of WIDER FACE computes it (wider_eval_tools)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extd.measure.predictions import Prediction

DIFFICULTIES = ("easy", "medium", "hard")
IOU = 0.5
THRESHOLDS = 1 - np.arange(1, 1001) / 1000
"""Normalised scores at which the curves are sampled, from 0.999 down to 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The ground truth of one picture.

    Attributes:
        event: its folder, as in `0--Parade`.
        name: its file name without `.jpg`.
        boxes: float64 [G, 4]; x, y, width, height in pixels of every annotated face.
        keep: bool [D, G], whether a face counts at each of D difficulties (WIDER's are easy,
            medium, hard); where it does not, it is ignored: neither hit nor miss.
    """

    event: str
    name: str
    boxes: NDArray[np.float64]
    keep: NDArray[np.bool_]

    @property
    def key(self) -> str:
        """`event/name`, which also keys its prediction."""
        return f"{self.event}/{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Precision over recall at the 1,000 thresholds, highest first.

    Attributes:
        recall: float64 [1000], found faces over faces that count; nan where none counts.
        precision: float64 [1000], found faces over detections that count; 0 where none counts.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]

    @property
    def ap(self) -> float:
        """Area under the curve's monotone envelope (PASCAL VOC 2010); nan without faces."""
        recall = np.concatenate([[0.0], self.recall, [1.0]])
        precision = np.concatenate([[0.0], self.precision, [0.0]])
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(np.diff(recall) * envelope[1:]))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Curves of the three difficulties over `images` pictures."""

    images: int
    easy: Curve
    medium: Curve
    hard: Curve

    @property
    def ap(self) -> dict[str, float]:
        """Average precision by difficulty, 0 to 1; nan where no face counts."""
        return {"easy": self.easy.ap, "medium": self.medium.ap, "hard": self.hard.ap}


def rounded(ap: Mapping[str, float]) -> dict[str, float | None]:
    """AP for JSON: five decimals, None where no face counts."""
    return {name: None if math.isnan(value) else round(value, 5) for name, value in ap.items()}


def load_ground_truth(folder: Path) -> tuple[Picture, ...]:
    """The pictures of the official wider_face_val.mat and wider_{easy,medium,hard}_val.mat.

    Raises:
        ImportError: SciPy is missing.
        FileNotFoundError: one of the four files is missing.
        ValueError: one of them is not WIDER's; the message gives its path.
    """
    every_face = load_mat(folder / "wider_face_val.mat", "event_list", "file_list", "face_bbx_list")
    kept = [load_mat(folder / f"wider_{name}_val.mat", "gt_list") for name in DIFFICULTIES]
    pictures = []
    for e, event in enumerate(every_face["event_list"][:, 0]):
        for p, name in enumerate(every_face["file_list"][e, 0][:, 0]):
            boxes = every_face["face_bbx_list"][e, 0][p, 0].astype(np.float64)
            keep = np.zeros((len(DIFFICULTIES), len(boxes)), np.bool_)
            for row, mat in zip(keep, kept, strict=True):
                row[mat["gt_list"][e, 0][p, 0].ravel().astype(np.intp) - 1] = True
            pictures.append(Picture(str(event[0]), str(name[0]), boxes, keep))
    return tuple(pictures)


def load_attribute(folder: Path, name: str) -> list[NDArray[np.int64]]:
    """A label of every face, as in `blur`, of wider_face_val.mat, in the order of the pictures.

    Raises:
        ImportError, FileNotFoundError, ValueError: as `load_ground_truth`.
    """
    variable = f"{name}_label_list"
    labels = load_mat(folder / "wider_face_val.mat", variable)[variable]
    return [picture.ravel().astype(np.int64) for event in labels[:, 0] for picture in event[:, 0]]


def load_mat(path: Path, *needed: str) -> dict[str, Any]:
    """The variables of a MATLAB file, which must have those `needed`."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            'reading the ground truth needs SciPy; run: pip install "extd[eval]"'
        ) from error
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}; the ground truth is four .mat files of WIDER FACE's eval_tools"
        )
    try:
        variables: dict[str, Any] = loadmat(path)
    except Exception as error:
        raise ValueError(f"{path} is not a MATLAB file: {error}") from error
    for name in needed:
        if name not in variables:
            raise ValueError(f"{path} is not WIDER's: it has no variable {name!r}")
    return variables


def evaluate(predictions: Mapping[str, Prediction], ground_truth: Sequence[Picture]) -> Evaluation:
    """Score `predictions`, keyed `event/name`, on the pictures that they name.

    A picture without an entry is left out, its faces are not misses; a picture where nothing
    was found needs an empty entry. Scores are normalised over all predictions together. In each
    picture a detection, best first, belongs to the face that it overlaps most, from IoU 0.5.
    The first one finds the face, later ones are false; one that belongs to an ignored face does
    not count.

    Raises:
        ValueError: no predictions, or one of a picture that is not in the ground truth.
    """
    unknown = sorted(predictions.keys() - {picture.key for picture in ground_truth})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is predicted but is not in the ground truth")
    pictures = [picture for picture in ground_truth if picture.key in predictions]
    if not pictures:
        raise ValueError("there are no predictions to evaluate")
    easy, medium, hard = curves(predictions, pictures)
    return Evaluation(len(pictures), easy, medium, hard)


def curves(predictions: Mapping[str, Prediction], pictures: Sequence[Picture]) -> list[Curve]:
    """A curve for each of the D difficulties; `predictions` name every one of `pictures`."""
    counts = count_matches(predictions, pictures)
    faces = np.sum([picture.keep.sum(axis=1) for picture in pictures], axis=0)
    return [
        curve_of(hits, detections, int(total))
        for (hits, detections), total in zip(counts, faces, strict=True)
    ]


def count_matches(
    predictions: Mapping[str, Prediction], pictures: Sequence[Picture]
) -> NDArray[np.int64]:
    """Count over all pictures, at each of the 1,000 thresholds.

    Returns:
        [D, 2, 1000]: by difficulty, the faces found, and the detections that count.
    """
    every_score = np.concatenate([predictions[picture.key].scores for picture in pictures])
    lowest = every_score.min(initial=np.inf)
    spread = every_score.max(initial=-np.inf) - lowest
    counts = np.zeros((len(pictures[0].keep), 2, len(THRESHOLDS)), np.int64)
    for picture in pictures:
        found = predictions[picture.key]
        if len(found) and len(picture.boxes):
            # Equal scores have no spread; they pass every threshold.
            scores = (found.scores - lowest) / spread if spread > 0 else np.ones(len(found))
            counts += _count_matches(found.boxes, scores, picture)
    return counts


def _count_matches(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], picture: Picture
) -> NDArray[np.int64]:
    """Count faces and detections of one picture at each threshold.

    Args:
        boxes: [N, 4]; x, y, width, height in pixels.
        scores: [N], normalised.
        picture: ground truth with at least one face.

    Returns:
        [D, 2, 1000]: by difficulty, the faces found, and the detections that count.
    """
    order = np.argsort(-scores, kind="stable")
    overlaps = pixel_iou(corners(boxes[order]), corners(picture.boxes))
    face = overlaps.argmax(axis=1)
    overlapping = overlaps.max(axis=1) >= IOU
    first = np.zeros(len(order), np.bool_)
    candidates = np.flatnonzero(overlapping)
    first[candidates[np.unique(face[candidates], return_index=True)[1]]] = True

    kept = picture.keep[:, face]
    running = np.zeros((len(kept), 2, len(order) + 1), np.int64)
    running[:, 0, 1:] = np.cumsum(first & kept, axis=1)
    running[:, 1, 1:] = np.cumsum(~overlapping | kept, axis=1)
    passing = np.searchsorted(-scores[order], -THRESHOLDS, side="right")
    return running[:, :, passing]


def curve_of(found: NDArray[np.int64], detections: NDArray[np.int64], faces: int) -> Curve:
    """Precision and recall from counts at each threshold, with `faces` that count in all."""
    recall = found / faces if faces else np.full(len(found), np.nan)
    return Curve(recall, found / np.maximum(detections, 1))


def corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(x, y, w, h) to (x, y, x + w, y + h), the evaluation's own conversion."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def pixel_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of boxes [N, 4] with boxes [M, 4] of x1, y1, x2, y2; a side is x2 - x1 + 1 long.

    Returns:
        float64 [N, M].
    """
    width = np.minimum(a[:, None, 2], b[:, 2]) - np.maximum(a[:, None, 0], b[:, 0]) + 1
    height = np.minimum(a[:, None, 3], b[:, 3]) - np.maximum(a[:, None, 1], b[:, 1]) + 1
    shared = np.where((width > 0) & (height > 0), width * height, 0.0)
    area_a, area_b = (
        (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1) for boxes in (a, b)
    )
    # A few annotated faces have a negative width: without overlap the union may be 0.
    union = np.where(shared > 0, area_a[:, None] + area_b - shared, 1.0)
    overlap: NDArray[np.float64] = shared / union
    return overlap
