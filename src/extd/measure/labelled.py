"""A detector measured on any labelled pictures, with the metric of WIDER FACE."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from extd.boxes import area, intersection
from extd.data.sample import Sample
from extd.images import Image, read_image
from extd.measure import wider
from extd.measure.predictions import Prediction

SIZES = {"all": (0.0, math.inf), "small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, 1e9)}
"""Difficulties: faces whose square root of area lies in this range of px, as COCO bins them."""

HIDDEN = 0.5
"""A box of which more lies in an ignored region says nothing, unless it finds a face."""
NOWHERE = -1e6
"""A coordinate outside of all pictures, px."""


@dataclass(frozen=True, slots=True)
class LabelledEvaluation:
    """How well faces were found.

    Attributes:
        images: how many pictures were read.
        faces: how many faces count, by the name of their size (`SIZES`).
        curves: precision over recall, by size.
    """

    images: int
    faces: dict[str, int]
    curves: dict[str, wider.Curve]

    @property
    def ap(self) -> dict[str, float]:
        """Average precision at IoU 0.5 by size, 0 to 1; nan where there is no such face."""
        return {size: curve.ap for size, curve in self.curves.items()}


def evaluate_labelled(
    detect: Callable[[Image], Prediction],
    pictures: Sequence[Sample],
    progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> LabelledEvaluation:
    """Detect in every picture and score the result; ignored regions neither help nor harm.

    Unlike in `extd.measure.wider`, false alarms in pictures without faces count.

    Args:
        detect: a protocol with its detector, as in `partial(single, Detector())`.
        pictures: with at least one face among them.
        progress: wraps the pictures as they are worked through, to show a bar.

    Raises:
        FileNotFoundError: a picture is missing.
        ValueError: a picture is broken, or none has a face.
    """
    if not any(len(picture.boxes) for picture in pictures):
        raise ValueError("no picture has a labelled face; there is nothing to measure")
    truth = [_ground_truth(picture) for picture in pictures]
    found = {
        wanted.key: _telling(detect(read_image(picture.path)), picture)
        for wanted, picture in zip(truth, progress(pictures), strict=True)
    }
    counts = np.sum([wanted.keep.sum(1) for wanted in truth], 0).tolist()
    curves = wider.curves(found, truth)
    return LabelledEvaluation(
        len(pictures),
        dict(zip(SIZES, counts, strict=True)),
        dict(zip(SIZES, curves, strict=True)),
    )


def _telling(found: Prediction, picture: Sample) -> Prediction:
    """The detections that find a face or lie outside of ignored regions."""
    if not len(found) or not len(picture.ignore):
        return found
    boxes = wider.corners(found.boxes)
    finds = (wider.pixel_iou(boxes, picture.boxes.astype(np.float64)) >= wider.IOU).any(1)
    whole = boxes.astype(np.float32)
    inside = (intersection(whole, picture.ignore) > HIDDEN * area(whole)[:, None]).any(1)
    return Prediction(found.boxes[~inside | finds], found.scores[~inside | finds])


def _ground_truth(picture: Sample) -> wider.Picture:
    ignored = picture.ignore
    if not len(picture.boxes) + len(ignored):
        # WIDER's evaluation passes over pictures without labels; one that nothing meets helps.
        ignored = np.full((1, 4), NOWHERE, np.float32)
    boxes = np.concatenate([picture.boxes, ignored]).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    side = np.sqrt(np.maximum(boxes[:, 2:], 0).prod(1))
    labelled = np.arange(len(boxes)) < len(picture.boxes)
    keep = np.array([labelled & (low <= side) & (side < high) for low, high in SIZES.values()])
    return wider.Picture("", str(picture.path), boxes, keep)


def report(evaluation: LabelledEvaluation, model: str, protocol: str) -> dict[str, object]:
    """The evaluation for JSON: images, model, protocol, faces and AP by size, null without any."""
    return {
        "images": evaluation.images,
        "model": model,
        "protocol": protocol,
        "faces": evaluation.faces,
        "ap": wider.rounded(evaluation.ap),
    }
