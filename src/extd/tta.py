"""Test-time augmentation: an image turned or mirrored for a pass, and what is found turned back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extd.boxes import mirror, turn
from extd.detections import MIRRORED, Detections
from extd.images import Image


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How an image is changed for a pass.

    Attributes:
        quarters: quarter turns clockwise.
        mirrored: left to right, after the turns.
    """

    quarters: int
    mirrored: bool


def apply(image: Image, augmentation: Augmentation) -> Image:
    """A view of the image, augmented."""
    turned = np.rot90(image, -augmentation.quarters)
    return turned[:, ::-1] if augmentation.mirrored else turned


def undo(found: Detections, augmentation: Augmentation, width: int, height: int) -> Detections:
    """What was found in an augmented image of `width` x `height` px, in pixels of the original."""
    boxes, scores, points = found
    if augmentation.quarters % 2:
        width, height = height, width
    if augmentation.mirrored:
        boxes = mirror(boxes, width)
        if points.size:
            # The mirrored image's left eye is the right one.
            points = points[:, MIRRORED] * (-1, 1) + (width, 0)
    boxes = turn(boxes, -augmentation.quarters, width, height)
    for _ in range(-augmentation.quarters % 4):
        points = np.stack([height - points[..., 1], points[..., 0]], 2)
        width, height = height, width
    return Detections(boxes, scores, points.astype(np.float32))
