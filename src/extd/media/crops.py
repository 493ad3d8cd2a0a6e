"""Faces cut out of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from extd.boxes import longer_side
from extd.faces import Faces
from extd.images import Image
from extd.media.regions import around, check_size


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A face cut out.

    Attributes:
        image: uint8 [y2 - y1, x2 - x1, 3], RGB; it shares no memory with the image.
        box: x1, y1, x2, y2 in whole pixels of the image; it may reach over the border.
        index: position of the face among those of the image, from 0.
    """

    image: Image
    box: tuple[int, int, int, int]
    index: int


def crops(
    image: Image, faces: Faces, *, margin: float = 0.0, square: bool = False, min_face: float = 0.0
) -> list[Crop]:
    """Cut out every face.

    Beyond the image's border the pixels at the border are repeated, so that a face is in the
    middle of its crop wherever it is.

    Args:
        image: uint8 [H, W, 3], RGB; it is not changed.
        faces: those of this image.
        margin: what to add on each side, as a share of the box's own sides.
        square: lengthen the shorter side, by as much on both ends.
        min_face: leave out faces whose longer side is below this, in pixels.

    Returns:
        The crops in the order of the faces, in their size in the image, at least 1 x 1 px.

    Raises:
        ValueError: `image` is no such array; `faces` are of an image of another size; a value
            is negative or not finite.
    """
    check_size(image, faces)
    if not 0 <= min_face < math.inf:
        raise ValueError(f"min_face is {min_face}; give 0 or more pixels")
    regions = around(faces, margin)
    large = np.flatnonzero(longer_side(faces.boxes) >= min_face).tolist()
    boxes = [(_whole(*regions[index].tolist(), square=square), index) for index in large]
    return [Crop(_cut(image, box), box, index) for box, index in boxes]


def _whole(
    x1: float, y1: float, x2: float, y2: float, *, square: bool
) -> tuple[int, int, int, int]:
    """The smallest box of whole pixels around a box, with equal sides for a square."""
    left, top = math.floor(x1), math.floor(y1)
    width, height = max(math.ceil(x2) - left, 1), max(math.ceil(y2) - top, 1)
    if square:
        side = max(width, height)
        left, top = left - (side - width) // 2, top - (side - height) // 2
        width = height = side
    return left, top, left + width, top + height


def _cut(image: Image, box: tuple[int, int, int, int]) -> Image:
    """A copy of the pixels in a box, those at the border repeated beyond it."""
    x1, y1, x2, y2 = box
    height, width = image.shape[:2]
    rows = np.clip(np.arange(y1, y2), 0, height - 1)
    columns = np.clip(np.arange(x1, x2), 0, width - 1)
    return image[rows[:, None], columns]
