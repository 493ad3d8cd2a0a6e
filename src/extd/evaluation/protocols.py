"""Test protocols: how a detector is run on an image of WIDER FACE to measure it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from extd.boxes import longer_side
from extd.detector import Detector, Options
from extd.evaluation.predictions import Prediction, to_prediction
from extd.evaluation.wider import pixel_iou
from extd.faces import Faces
from extd.passes import Pass, pool
from extd.pixels import Image

Protocol = Callable[[Detector, Image], Prediction]

LOWEST = 0.02
"""The threshold of most tests: AP needs uncertain detections, too."""
SINGLE = Options(threshold=LOWEST, nms_iou=0.3, top_k=5000, max_faces=750, scales=(1.0,))
MULTISCALE_PASS = replace(SINGLE, threshold=0.05, clip=False)
"""One pass of the multi-scale test, at the scale that it adds."""

TEST_AREA = 1700 * 1200
"""Pixels to which the multi-scale test shrinks large images and enlarges small ones."""
VOTE_IOU = 0.3
MAX_FACES = 750


def single(detector: Detector, image: Image) -> Prediction:
    """One pass at the image's own size: scores above 0.02, NMS at IoU 0.3, the best 750.

    Boxes are clipped to the image, as WIDER labels them, and averaged by box voting where the
    model's file asks for it: they are the boxes that users of `Detector` get.
    """
    return to_prediction(detector.detect(image, SINGLE))


def default(detector: Detector, image: Image) -> Prediction:
    """What `Detector()` gives: as `single`, but with its passes at several sizes."""
    return to_prediction(detector.detect(image, replace(SINGLE, scales="auto")))


def paper(detector: Detector, image: Image) -> Prediction:
    """The multi-scale and flip test with box voting of the authors' released `wider_test.py`.

    Its vote drops every box without a partner. Where no two boxes meet, their code fails and
    this gives an empty prediction. As in their files, widths and heights are x2 - x1 + 1, boxes
    have one decimal and scores three.
    """
    faces = group_vote(multiscale_faces(detector, image), smallest_group=2)
    boxes = faces.boxes.astype(np.float64)
    boxes[:, 2:] += 1 - boxes[:, :2]
    return Prediction(boxes.round(1), faces.scores.astype(np.float64).round(3))


def multiscale(detector: Detector, image: Image) -> Prediction:
    """The passes of `paper`, with a vote that keeps boxes without a partner."""
    return to_prediction(group_vote(multiscale_faces(detector, image), smallest_group=1))


PROTOCOLS: dict[str, Protocol] = {
    "single": single,
    "default": default,
    "paper": paper,
    "multiscale": multiscale,
}


def multiscale_faces(detector: Detector, image: Image) -> Faces:
    """The boxes of all passes of the authors' multi-scale test, concatenated."""
    height, width = image.shape[:2]
    # Brings the image to TEST_AREA.
    largest = math.sqrt(TEST_AREA / (height * width))

    def detect(scale: float, image: Image = image) -> Faces:
        return detector.detect(image, replace(MULTISCALE_PASS, scales=(scale,)))

    fit = min(largest, 1.0)
    plain, flipped = detect(fit), detect(fit, np.ascontiguousarray(image[:, ::-1]))
    unflipped = Pass(mirrored=True).undo(flipped, width, height)

    # The +1 of both filters counts sides in whole pixels, as the authors do.
    shrunk = detect(_shrunk_scale(largest))
    shrunk = shrunk[longer_side(shrunk.boxes) + 1 > 30]
    enlarged = pool([detect(scale) for scale in enlarged_scales(largest)])
    if largest > 1:
        sides = enlarged.boxes[:, 2:] - enlarged.boxes[:, :2]
        enlarged = enlarged[sides.min(axis=1) + 1 < 100]
    else:
        enlarged = enlarged[longer_side(enlarged.boxes) + 1 > 30]
    return pool([plain, unflipped, shrunk, enlarged])


def _shrunk_scale(largest: float) -> float:
    """Scale of the pass for large faces."""
    return 0.5 if largest >= 0.75 else 0.5 * largest


def enlarged_scales(largest: float) -> list[float]:
    """Scales of the passes for small faces; `largest` brings the image to `TEST_AREA`."""
    if largest <= 1:
        return [(_shrunk_scale(largest) + largest) / 2]
    scales = []
    scale = 2.0
    while scale < largest:
        scales.append(scale)
        scale *= 2
    return [*scales, largest]


def group_vote(faces: Faces, smallest_group: int) -> Faces:
    """Box voting: overlapping boxes become one.

    The best box and all with an IoU of at least 0.3 to it (sides of x2 - x1 + 1) form a group,
    and so on with the rest. Groups of fewer than `smallest_group` boxes are dropped.

    Returns:
        For each of the best 750 groups the score-weighted mean of its boxes, with its best score.
    """
    order = np.argsort(-faces.scores, kind="stable")
    boxes = faces.boxes[order].astype(np.float64)
    scores = faces.scores[order].astype(np.float64)
    means: list[NDArray[np.float64]] = []
    best: list[float] = []
    while len(scores) and len(means) < MAX_FACES:
        group = pixel_iou(boxes[:1], boxes)[0] >= VOTE_IOU
        if group.sum() >= smallest_group:
            means.append(np.average(boxes[group], axis=0, weights=scores[group]))
            best.append(scores[0])
        boxes, scores = boxes[~group], scores[~group]
    return Faces(np.reshape(means, (-1, 4)), best, faces.width, faces.height)
