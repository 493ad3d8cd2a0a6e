"""Average precision on WIDER FACE, as its official evaluation (wider_eval_tools) computes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.data.wider import read_mat_list
from extd.evaluation.predictions import Prediction, read_predictions, write_predictions
from extd.images import read_image
from extd.pixels import Image

DIFFICULTIES = ("easy", "medium", "hard")
IOU = 0.5
THRESHOLDS = 1 - np.arange(1, 1001) / 1000
"""Normalized scores at which the curves are sampled, from 0.999 down to 0."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The annotated faces of one image; those that do not count are neither hits nor misses."""

    key: str  # `event/name`, as `0--Parade/0_Parade_Parade_0_12`; the key of its prediction, too
    boxes: NDArray[np.float64]  # [G, 4], x, y, width, height of every face, px
    keep: NDArray[np.bool_]  # [D, G], whether a face counts: easy, medium and hard, or by size


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Precision over recall at the 1,000 thresholds, highest first."""

    recall: NDArray[np.float64]  # [1000], faces found over faces that count; nan where none does
    precision: NDArray[np.float64]  # [1000], faces found over detections that count; 0 without

    @property
    def ap(self) -> float:
        """Area under the curve's monotone envelope (PASCAL VOC 2010); nan without faces."""
        recall = np.concatenate([[0.0], self.recall, [1.0]])
        precision = np.concatenate([[0.0], self.precision, [0.0]])
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(np.diff(recall) * envelope[1:]))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a detector does on `images` images."""

    images: int  # how many there are
    faces: dict[str, int]  # how many count, by difficulty or size
    curves: dict[str, Curve]  # precision over recall, likewise

    @property
    def ap(self) -> dict[str, float]:
        """Average precision at IoU 0.5, 0 to 1; nan where no face counts."""
        return {name: curve.ap for name, curve in self.curves.items()}


def rounded(ap: Mapping[str, float]) -> dict[str, float | None]:
    """AP for JSON: five decimals, None where no face counts."""
    return {name: None if math.isnan(value) else round(value, 5) for name, value in ap.items()}


def load_ground_truth(folder: Path) -> tuple[GroundTruth, ...]:
    """The validation set of wider_face_val.mat and wider_{easy,medium,hard}_val.mat.

    Raises:
        ImportError: SciPy is missing.
        FileNotFoundError: one of the four files is missing.
        ValueError: one of them is not WIDER's; the message gives its path.
    """
    faces = read_mat_list(folder / "wider_face_val.mat", "face_bbx_list")
    kept = [read_mat_list(folder / f"wider_{name}_val.mat", "gt_list") for name in DIFFICULTIES]
    images = []
    for (key, (boxes,)), *lists in zip(faces, *kept, strict=True):
        keep = np.zeros((len(DIFFICULTIES), len(boxes)), np.bool_)
        for row, (_, (numbers,)) in zip(keep, lists, strict=True):
            # MATLAB counts from 1.
            row[numbers.ravel().astype(np.intp) - 1] = True
        images.append(GroundTruth(key, boxes, keep))
    return tuple(images)


def find_images(folder: Path, ground_truth: Sequence[GroundTruth]) -> dict[str, Path]:
    """The images `folder`/[images/]EVENT/IMAGE.jpg, keyed `event/name`.

    Raises:
        FileNotFoundError: there are none.
        ValueError: one is not in the ground truth.
    """
    root = folder / "images" if (folder / "images").is_dir() else folder
    paths = {f"{path.parent.name}/{path.stem}": path for path in sorted(root.glob("*/*.jpg"))}
    if not paths:
        raise FileNotFoundError(
            f"there are no images in {root}; they are expected as {root}/EVENT/IMAGE.jpg"
        )
    unknown = sorted(paths.keys() - {truth.key for truth in ground_truth})
    if unknown:
        raise ValueError(
            f"{paths[unknown[0]]} is not in the ground truth; keep only images of WIDER FACE's "
            f"validation set in {root}"
        )
    return paths


def evaluate_detector(
    detect: Callable[[Image], Prediction],
    folder: Path,
    ground_truth: Sequence[GroundTruth],
    progress: Callable[[Sequence[GroundTruth]], Iterable[GroundTruth]] = iter,
    save_in: Path | None = None,
) -> Evaluation:
    """Run a detector on the images that `find_images` finds in `folder`, and score it on them.

    `detect` is a protocol with its detector, as in `partial(single, Detector())`; `progress` wraps
    the images to show a bar. Each prediction is written to the folder `save_in` as soon as it is
    made.

    Raises:
        FileNotFoundError, ValueError: as `find_images`, or an image is broken.
    """
    paths = find_images(folder, ground_truth)
    predictions = {}
    for truth in progress([truth for truth in ground_truth if truth.key in paths]):
        predictions[truth.key] = detect(read_image(paths[truth.key]))
        if save_in is not None:
            write_predictions(save_in, {truth.key: predictions[truth.key]})
    return evaluate(predictions, ground_truth)


def load_predictions(
    predictions: Path, folder: Path, ground_truth: Sequence[GroundTruth]
) -> dict[str, Prediction]:
    """The predictions saved as `predictions`/EVENT/IMAGE.txt for the images in `folder`.

    Raises:
        FileNotFoundError, ValueError: as `find_images` and `read_predictions`, or an image has no
            predictions.
    """
    paths = find_images(folder, ground_truth)
    saved = read_predictions(predictions)
    missing = sorted(paths.keys() - saved.keys())
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(paths)} images in {folder} have no predictions; the first "
            f"would be {predictions / missing[0]}.txt (with the count 0 where nothing was found)"
        )
    return {key: saved[key] for key in paths}


def evaluate(
    predictions: Mapping[str, Prediction], ground_truth: Sequence[GroundTruth]
) -> Evaluation:
    """Score `predictions`, keyed `event/name`, on the images that they name.

    An image without an entry is left out, its faces are not misses; an image where nothing was
    found needs an empty entry. Scores are normalized over all predictions together. In each
    image a detection, best first, is matched to the face that it overlaps most, from IoU 0.5.
    The first one finds the face, later ones are false positives; one matched to an ignored face
    does not count.

    Raises:
        ValueError: no predictions, or one of an image that is not in the ground truth.
    """
    unknown = sorted(predictions.keys() - {truth.key for truth in ground_truth})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is predicted but is not in the ground truth")
    chosen = [truth for truth in ground_truth if truth.key in predictions]
    if not chosen:
        raise ValueError("there are no predictions to evaluate")
    return precision_recall(predictions, chosen, DIFFICULTIES)


def precision_recall(
    predictions: Mapping[str, Prediction],
    ground_truth: Sequence[GroundTruth],
    names: Collection[str],
) -> Evaluation:
    """Curves for each of the D difficulties, which `names` names; every image has a prediction."""
    counts = count_matches(predictions, ground_truth)
    faces = np.sum([truth.keep.sum(axis=1) for truth in ground_truth], axis=0).tolist()
    curves = [
        curve_from_counts(hits, detections, total)
        for (hits, detections), total in zip(counts, faces, strict=True)
    ]
    return Evaluation(
        len(ground_truth),
        dict(zip(names, faces, strict=True)),
        dict(zip(names, curves, strict=True)),
    )


def count_matches(
    predictions: Mapping[str, Prediction], ground_truth: Sequence[GroundTruth]
) -> NDArray[np.int64]:
    """Count over all images, at each of the 1,000 thresholds.

    Returns:
        [D, 2, 1000]: by difficulty, the faces found, and the detections that count.
    """
    counts = np.zeros((len(ground_truth[0].keep), 2, len(THRESHOLDS)), np.int64)
    for _, own in image_counts(predictions, ground_truth):
        counts += own
    return counts


def image_counts(
    predictions: Mapping[str, Prediction], ground_truth: Sequence[GroundTruth]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """As `count_matches`, the index and counts of each image with faces and detections."""
    every_score = np.concatenate([predictions[truth.key].scores for truth in ground_truth])
    lowest = every_score.min(initial=np.inf)
    spread = every_score.max(initial=-np.inf) - lowest
    for index, truth in enumerate(ground_truth):
        found = predictions[truth.key]
        if len(found) and len(truth.boxes):
            # Equal scores have no spread; they pass every threshold.
            scores = (found.scores - lowest) / spread if spread > 0 else np.ones(len(found))
            yield index, _count_matches(found.boxes, scores, truth)


def _count_matches(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], truth: GroundTruth
) -> NDArray[np.int64]:
    """As `count_matches`, of one image with faces: boxes [N, 4] xywh, normalized scores [N]."""
    order = np.argsort(-scores, kind="stable")
    hits, counted = match(boxes[order], truth)
    running = np.zeros((len(hits), 2, len(order) + 1), np.int64)
    running[:, 0, 1:] = np.cumsum(hits, axis=1)
    running[:, 1, 1:] = np.cumsum(counted, axis=1)
    passing = np.searchsorted(-scores[order], -THRESHOLDS, side="right")
    return running[:, :, passing]


def match(
    boxes: NDArray[np.float64], truth: GroundTruth
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections [N, 4] xywh, best first, find a face, and which count: bool [D, N] each.

    Each detection goes to the face that it overlaps most, and the best one of a face finds it.
    """
    overlaps = pixel_iou(corners(boxes), corners(truth.boxes))
    face = overlaps.argmax(axis=1)
    overlapping = overlaps.max(axis=1) >= IOU
    first = np.zeros(len(boxes), np.bool_)
    candidates = np.flatnonzero(overlapping)
    first[candidates[np.unique(face[candidates], return_index=True)[1]]] = True
    kept = truth.keep[:, face]
    return first & kept, ~overlapping | kept


def curve_from_counts(hits: NDArray[np.int64], detections: NDArray[np.int64], faces: int) -> Curve:
    """Precision and recall from counts [1000] at each threshold, with `faces` that count."""
    recall = hits / faces if faces else np.full(len(hits), np.nan)
    return Curve(recall, hits / np.maximum(detections, 1))


def corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(x, y, w, h) to (x, y, x + w, y + h), the evaluation's own conversion."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def pixel_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of boxes [N, 4] with boxes [M, 4], xyxy, whose sides are x2 - x1 + 1 long: [N, M]."""
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
