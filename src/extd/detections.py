"""`Detections`: what passes of the network find, moved between images, pooled and suppressed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, nms, vote
from extd.images import Image

MIRRORED = (1, 0, 2, 4, 3)
"""Which landmark of the mirrored image each one is: eyes and mouth corners change sides."""


class Detections(NamedTuple):
    """What one pass of the network finds, in pixels of its image.

    Attributes:
        boxes: float32 [N, 4], xyxy.
        scores: float32 [N].
        landmarks: float32 [N, 5, 2], x and y of the eyes, nose and mouth corners, image-left
            first; [N, 0, 2] from a network without landmarks.
    """

    boxes: Boxes
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]


def select(found: Detections, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
    """Those that a mask or an array of indices picks."""
    return Detections(*(part[chosen] for part in found))


def pool(found: Sequence[Detections]) -> Detections:
    """All of them, concatenated in order; `found` must not be empty."""
    return Detections(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def rescale(found: Detections, x: float, y: float) -> Detections:
    """The same in an image `x` times as wide and `y` times as high."""
    factors = np.array([x, y], np.float32)
    return found._replace(
        boxes=found.boxes * np.tile(factors, 2), landmarks=found.landmarks * factors
    )


def shift(found: Detections, x: float, y: float) -> Detections:
    """The same in an image that starts `x` px further left and `y` px further up."""
    corner = np.array([x, y], np.float32)
    return found._replace(
        boxes=found.boxes + np.tile(corner, 2), landmarks=found.landmarks + corner
    )


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Test-time augmentation: how the image of a pass is changed.

    Attributes:
        quarters: quarter turns clockwise.
        mirrored: mirrored left to right, after the turns.
    """

    quarters: int
    mirrored: bool


def apply(image: Image, augmentation: Augmentation) -> Image:
    """A view of the image, augmented."""
    turned = np.rot90(image, -augmentation.quarters)
    return turned[:, ::-1] if augmentation.mirrored else turned


def undo(found: Detections, augmentation: Augmentation, width: int, height: int) -> Detections:
    """Detections in the augmented image, moved to the original of `width` x `height` px."""
    points: NDArray[Any] = found.landmarks
    if augmentation.mirrored and points.size:
        # The mirrored image's left eye is the right one.
        points = points[:, MIRRORED].astype(np.float64)
    corners = _undo_points(found.boxes.reshape(-1, 2, 2), augmentation, width, height)
    points = _undo_points(points, augmentation, width, height)
    # Turning and mirroring swap corners.
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return Detections(boxes, found.scores, points.astype(np.float32))


def _undo_points(
    points: NDArray[Any], augmentation: Augmentation, width: int, height: int
) -> NDArray[Any]:
    """Points [N, K, 2] of the augmented image in pixels of the original."""
    if augmentation.quarters % 2:
        width, height = height, width
    x, y = points[..., 0], points[..., 1]
    if augmentation.mirrored:
        x = width - x
    for _ in range(-augmentation.quarters % 4):
        x, y = height - y, x
        width, height = height, width
    return np.stack([x, y], axis=-1)


def suppress(found: Detections, threshold: float, nms_iou: float, *, votes: bool) -> Detections:
    """Non-maximum suppression, best first.

    Args:
        found: scores must be above 0.
        threshold: only boxes with a score above it stay; those below may still vote.
        nms_iou: of two boxes with a greater IoU only the better stays.
        votes: move the boxes that stay by `extd.boxes.vote`; landmarks stay in place.
    """
    kept = nms(found.boxes, found.scores, nms_iou)
    kept = kept[found.scores[kept] > threshold]
    best = select(found, kept)
    if votes:
        best = best._replace(boxes=vote(found.boxes, found.scores, kept, nms_iou))
    return best
