"""Plans carried out by OpenCV, on one picture at a time, and on the boxes of a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from extd.data.sample import Sample
from extd.images import Image
from extd.models.config import MEAN
from extd.training.plan import UNCHANGED, Color, Interpolation, Plan

OPENCV: dict[Interpolation, int] = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}

MIRRORED = [1, 0, 2, 4, 3]
"""Where the eyes, nose and corners of the mouth of a mirrored face come from."""
ROWS = 8
"""Boxes are padded to a multiple of this, so that few shapes occur."""


class Labels(NamedTuple):
    """The boxes of B crops, padded with zeros; not clipped.

    Attributes:
        faces: B x N x 4 float32, xyxy in crop px.
        real: B x N bool, which faces are no padding.
        ignore: B x M x 4 float32 regions that are neither face nor background.
        ignore_real: B x M bool.
        landmarks: B x N x 10 float32, x and y of five points of each face, crop px; NaN where
            they are not known.
    """

    faces: NDArray[np.float32]
    real: NDArray[np.bool_]
    ignore: NDArray[np.float32]
    ignore_real: NDArray[np.bool_]
    landmarks: NDArray[np.float32]


def cut(image: Image, plan: Plan) -> Image:
    """The crop of H x W x 3 RGB `image`: S x S x 3 uint8. Beyond the picture is the mean colour."""
    height, width = image.shape[:2]
    (left, top, side), size = plan.square, plan.size
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, width), min(top + side, height)
    canvas = np.full((size, size, 3), MEAN, np.uint8)
    scale = size / side
    # Resize only what the picture covers: a far zoom-out never allocates the padding.
    u0, v0 = round((x0 - left) * scale), round((y0 - top) * scale)
    u1, v1 = round((x1 - left) * scale), round((y1 - top) * scale)
    if u1 > u0 and v1 > v0 and x1 > x0 and y1 > y0:
        method = OPENCV[plan.interpolation]
        region = cv2.resize(image[y0:y1, x0:x1], (u1 - u0, v1 - v0), interpolation=method)
        canvas[v0:v1, u0:u1] = distort(np.asarray(region, np.uint8), plan.color)
    for axis, flipped in ((1, plan.horizontal_flip), (0, plan.vertical_flip)):
        if flipped:
            canvas = np.asarray(cv2.flip(canvas, axis), np.uint8)
    return canvas


def distort(image: Image, color: Color) -> Image:
    """Change the colours of H x W x 3 uint8 RGB."""
    if color == UNCHANGED:
        return image
    # Tables of 256 values cost a tenth of the same arithmetic in float.
    value = np.arange(256, dtype=np.float32)
    first = (value + color.brightness) * (color.contrast if color.contrast_first else 1.0)
    image = _looked_up(image, first)
    if color.saturation != 1 or color.hue != 0:
        hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL), np.uint8)
        hue = (value + color.hue * 256 / 360).round() % 256
        hsv = _looked_up(hsv, np.stack([hue, value * color.saturation, value], 1))
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), np.uint8)
    if not color.contrast_first:
        image = _looked_up(image, value * color.contrast)
    return image


def _looked_up(image: Image, table: NDArray[np.float32]) -> Image:
    """Every value of `image` replaced by that of a table of 256, or of one a channel."""
    whole = table.clip(0, 255).round().astype(np.uint8).reshape(1, 256, -1)
    return np.asarray(cv2.LUT(image, whole), np.uint8)


def label(plans: Sequence[Plan], pictures: Sequence[Sample], min_face: float) -> Labels:
    """The boxes of the crops that `plans` describe.

    A face stays if its centre lies inside the crop. One whose shorter side is below `min_face`
    crop px becomes a region to ignore; such regions stay if any part lies inside.

    Args:
        plans: B crops.
        pictures: what the plans' indices mean.
        min_face: crop px.
    """
    chosen = [pictures[plan.picture] for plan in plans]
    sizes = np.array([plan.size for plan in plans], np.float64)[:, None]
    faces_of = [len(picture.boxes) for picture in chosen]
    faces, owner = _moved([picture.boxes for picture in chosen], plans)
    centre = (faces[:, :2] + faces[:, 2:]) / 2
    inside = ((centre > 0) & (centre < sizes[owner])).all(1)
    faces, owner = faces[inside], owner[inside]
    points = _moved_points([picture.landmarks for picture in chosen], faces_of, plans)[inside]
    tiny = (faces[:, 2:] - faces[:, :2]).min(1) < min_face
    ignore, ignore_owner = _moved([picture.ignore for picture in chosen], plans)
    ignore = np.concatenate([ignore, faces[tiny]])
    ignore_owner = np.concatenate([ignore_owner, owner[tiny]])
    inside = ((ignore[:, 2:] > 0) & (ignore[:, :2] < sizes[ignore_owner])).all(1)
    return Labels(
        *_padded(faces[~tiny], owner[~tiny], len(plans)),
        *_padded(ignore[inside], ignore_owner[inside], len(plans)),
        _padded(points[~tiny], owner[~tiny], len(plans))[0],
    )


def _moved(
    boxes: list[NDArray[np.float32]], plans: Sequence[Plan]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """All boxes in px of their crops, K x 4, and for each the index of its crop."""
    owner = np.repeat(np.arange(len(plans)), [len(each) for each in boxes])
    geometry = np.array([(*p.square, p.size, p.horizontal_flip, p.vertical_flip) for p in plans])
    left, top, side, size, mirrored, turned = geometry[owner].T[..., None].astype(np.float64)
    moved = (np.concatenate(boxes) - np.hstack([left, top, left, top])) * (size / side)
    flips = np.hstack([mirrored, turned, mirrored, turned]) > 0
    return np.where(flips, size - moved[:, [2, 3, 0, 1]], moved), owner


def _moved_points(
    points: list[NDArray[np.float32] | None], counts: Sequence[int], plans: Sequence[Plan]
) -> NDArray[np.float64]:
    """The landmarks of all faces in px of their crops, K x 10; NaN where they are not known."""
    known = [
        np.full((count, 10), np.nan, np.float32) if one is None else one
        for one, count in zip(points, counts, strict=True)
    ]
    owner = np.repeat(np.arange(len(plans)), counts)
    geometry = np.array([(*p.square, p.size, p.horizontal_flip, p.vertical_flip) for p in plans])
    left, top, side, size, mirrored, turned = geometry[owner].T[..., None].astype(np.float64)
    moved = np.concatenate(known).reshape(-1, 5, 2).astype(np.float64)
    moved = (moved - np.stack([left, top], 2)) * (size / side)[..., None]
    # In a mirrored face the other eye is on the left of the image.
    moved = np.where(mirrored[..., None] > 0, moved[:, MIRRORED], moved)
    flips = np.stack([mirrored, turned], 2) > 0
    flipped: NDArray[np.float64] = np.where(flips, size[..., None] - moved, moved)
    return flipped.reshape(-1, 10)


def _padded(
    boxes: NDArray[np.float64], owner: NDArray[np.intp], count: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """K boxes or landmarks of `count` crops as rows of equal length, and which are no padding."""
    order = owner.argsort(kind="stable")
    lengths = np.bincount(owner, minlength=count)
    width = max(-(-lengths.max() // ROWS), 1) * ROWS
    real = np.arange(width) < lengths[:, None]
    padded = np.zeros((count, width, boxes.shape[1]), np.float32)
    padded[real] = boxes[order]
    return padded, real
