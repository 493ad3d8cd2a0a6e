"""Average precision of a detector on labeled images, with the metric of WIDER FACE."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from extd.boxes import area, intersection
from extd.data.sample import Sample, to_xywh
from extd.evaluation import wider
from extd.evaluation.predictions import Prediction
from extd.images import read_image
from extd.pixels import Image

SIZES = {"all": (0.0, math.inf), "small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, 1e9)}
"""Ranges of the square root of a face's area in px, as COCO bins them."""
IGNORED_SHARE = 0.5
"""A box of which more lies in an ignored region does not count, unless it hits a face."""
OUTSIDE = -1e6
"""A coordinate outside of every image, px."""
COCO_BOXES = 100
"""Detections of an image that COCO's AP takes."""


def evaluate_labeled(
    detect: Callable[[Image], Prediction], samples: Sequence[Sample]
) -> wider.Evaluation:
    """Run a detector as `detect_labeled` does, and `score` it."""
    return score(samples, detect_labeled(detect, samples))


def detect_labeled(
    detect: Callable[[Image], Prediction],
    samples: Sequence[Sample],
    progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> list[Prediction]:
    """Run a detector on every image; the parameters are those of `wider.evaluate_detector`.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: an image is broken, or none has a face.
    """
    if not any(len(sample.boxes) for sample in samples):
        raise ValueError("no image has a labeled face; there is nothing to measure")
    return [detect(read_image(sample.path)) for sample in progress(samples)]


def score(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> wider.Evaluation:
    """AP at IoU 0.5 by the size of faces (`SIZES`).

    Ignored regions neither help nor harm. Unlike in `extd.evaluation.wider`, false positives in
    images without faces count.
    """
    return wider.precision_recall(*by_image(samples, predictions), SIZES)


def by_image(
    samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> tuple[dict[str, Prediction], list[wider.GroundTruth]]:
    """What `score` scores: detections by the path of the image, and labels."""
    truth = [ground_truth(sample) for sample in samples]
    found = map(without_ignored, predictions, samples)
    keys = (labels.key for labels in truth)
    return dict(zip(keys, found, strict=True)), truth


def coco_ap(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> float:
    """COCO's AP@[.5:.95]: the mean over IoUs from 0.5 to 0.95, of 100 detections an image.

    Ignored regions are crowds.

    Raises:
        ImportError: the package faster-coco-eval is missing.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ModuleNotFoundError as error:
        raise ImportError(
            f'COCO\'s AP is measured by the package {error.name}; run: pip install "extd[eval]"'
        ) from error
    boxes = [
        (image, box, crowd)
        for image, sample in enumerate(samples)
        for crowd, rows in enumerate((sample.boxes, sample.ignore))
        for box in to_xywh(rows)
    ]
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image} for image in range(len(samples))],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": number, "image_id": image, "category_id": 1, "bbox": box, "iscrowd": crowd}
            | {"area": box[2] * box[3]}
            for number, (image, box, crowd) in enumerate(boxes, 1)
        ],
    }
    truth.createIndex()
    rows = [
        {"image_id": image, "category_id": 1, "bbox": box, "score": score}
        for image, found in enumerate(predictions)
        for box, score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True)
    ]
    if not rows:
        return 0.0
    # By itself it prints what it does.
    evaluation = COCOeval_faster(truth, truth.loadRes(rows), "bbox", print_function=lambda *_: None)
    evaluation.params.maxDets = [1, 10, COCO_BOXES]
    evaluation.run()
    return float(evaluation.stats[0])


def without_ignored(found: Prediction, sample: Sample) -> Prediction:
    """The detections that hit a face or lie outside of ignored regions."""
    if not len(found) or not len(sample.ignore):
        return found
    boxes = wider.corners(found.boxes)
    hits = (wider.pixel_iou(boxes, sample.boxes.astype(np.float64)) >= wider.IOU).any(1)
    xyxy = boxes.astype(np.float32)
    ignored = intersection(xyxy, sample.ignore) > IGNORED_SHARE * area(xyxy)[:, None]
    kept = hits | ~ignored.any(1)
    return Prediction(found.boxes[kept], found.scores[kept])


def ground_truth(sample: Sample) -> wider.GroundTruth:
    """The faces of an image by size; ignored regions are faces that do not count."""
    ignored = sample.ignore
    if not len(sample.boxes) + len(ignored):
        # WIDER's evaluation skips images without labels; a region that no box meets prevents it.
        ignored = np.full((1, 4), OUTSIDE, np.float32)
    boxes = np.concatenate([sample.boxes, ignored]).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    side = np.sqrt(np.maximum(boxes[:, 2:], 0).prod(1))
    labeled = np.arange(len(boxes)) < len(sample.boxes)
    keep = np.array([labeled & (low <= side) & (side < high) for low, high in SIZES.values()])
    return wider.GroundTruth(str(sample.path), boxes, keep)
