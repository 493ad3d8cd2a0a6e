"""Boxes with scores and landmarks on their way from the network to `Faces`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, nms, vote

MIRRORED = (1, 0, 2, 4, 3)
"""Which landmark of the mirrored image each one is: eyes and corners of the mouth change sides."""


class Detections(NamedTuple):
    """What one pass of the network finds, in pixels of its image.

    Attributes:
        boxes: float32 [N, 4], xyxy.
        scores: float32 [N].
        landmarks: float32 [N, 5, 2], x and y of the eyes, nose and corners of the mouth,
            image-left first; [N, 0, 2] of a network without landmarks.
    """

    boxes: Boxes
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]


def select(found: Detections, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
    """Those that a mask or positions choose."""
    return Detections(*(part[chosen] for part in found))


def pool(found: Sequence[Detections]) -> Detections:
    """All of them, in their order; `found` is not empty."""
    return Detections(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def rescale(found: Detections, x: float, y: float) -> Detections:
    """The same in an image that is `x` times as wide and `y` times as high."""
    factors = np.array([x, y], np.float32)
    return found._replace(
        boxes=found.boxes * np.tile(factors, 2), landmarks=found.landmarks * factors
    )


def shift(found: Detections, x: float, y: float) -> Detections:
    """The same in an image that begins `x` and `y` px further to the left and top."""
    corner = np.array([x, y], np.float32)
    return found._replace(
        boxes=found.boxes + np.tile(corner, 2), landmarks=found.landmarks + corner
    )


def suppress(found: Detections, threshold: float, nms_iou: float, *, votes: bool) -> Detections:
    """The best of overlapping boxes, best first.

    Args:
        found: scores above 0.
        threshold: boxes of a score above it stay; below it they can vote.
        nms_iou: of two boxes that overlap by a greater IoU only the better stays.
        votes: it moves by `extd.boxes.vote`; its landmarks stay.
    """
    kept = nms(found.boxes, found.scores, nms_iou)
    kept = kept[found.scores[kept] > threshold]
    best = select(found, kept)
    if votes:
        best = best._replace(boxes=vote(found.boxes, found.scores, kept, nms_iou))
    return best
