"""Average precision of a detector on labeled images, with the metric of WIDER FACE."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from extd.boxes import area, intersection
from extd.data.sample import Sample
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


def evaluate_labeled(
    detect: Callable[[Image], Prediction],
    samples: Sequence[Sample],
    progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> wider.Evaluation:
    """Run a detector on every image and score it by the size of faces (`SIZES`).

    Ignored regions neither help nor harm. Unlike in `extd.evaluation.wider`, false positives in
    images without faces count.

    Args:
        detect: a protocol with its detector, as in `partial(single, Detector())`.
        samples: at least one of them has a face.
        progress: wraps the samples to show a progress bar.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: an image is broken, or none has a face.
    """
    predictions, truth = predict_labeled(detect, samples, progress)
    return wider.precision_recall(predictions, truth, SIZES)


def predict_labeled(
    detect: Callable[[Image], Prediction],
    samples: Sequence[Sample],
    progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> tuple[dict[str, Prediction], list[wider.GroundTruth]]:
    """What `evaluate_labeled` scores: detections by the path of the image, and labels."""
    if not any(len(sample.boxes) for sample in samples):
        raise ValueError("no image has a labeled face; there is nothing to measure")
    truth = [_ground_truth(sample) for sample in samples]
    predictions = {
        labels.key: _without_ignored(detect(read_image(sample.path)), sample)
        for labels, sample in zip(truth, progress(samples), strict=True)
    }
    return predictions, truth


def _without_ignored(found: Prediction, sample: Sample) -> Prediction:
    """The detections that hit a face or lie outside of ignored regions."""
    if not len(found) or not len(sample.ignore):
        return found
    boxes = wider.corners(found.boxes)
    hits = (wider.pixel_iou(boxes, sample.boxes.astype(np.float64)) >= wider.IOU).any(1)
    xyxy = boxes.astype(np.float32)
    ignored = intersection(xyxy, sample.ignore) > IGNORED_SHARE * area(xyxy)[:, None]
    kept = hits | ~ignored.any(1)
    return Prediction(found.boxes[kept], found.scores[kept])


def _ground_truth(sample: Sample) -> wider.GroundTruth:
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
