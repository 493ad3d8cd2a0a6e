"""Faces turned upright and scaled to one size, as face recognition networks expect them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from extd.faces import Faces
from extd.images import Image
from extd.media.regions import check_size

SIDE = 112
SMALLEST = 1e-6
"""Least size of a face, in sides of the result."""
TEMPLATE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
"""Where the five landmarks of an aligned face of 112 x 112 px lie (ArcFace, arXiv 1801.07698)."""


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The turn, scale and shift that bring N points nearest to N others, in least squares.

    No mirroring. From Umeyama, 1991, equations 40 to 43; in the plane the turn is a complex number.

    Args:
        source: [N, 2], not all in one point.
        target: [N, 2].

    Returns:
        [2, 3]: target is about matrix[:, :2] @ source + matrix[:, 2].

    """
    a, b = (points.astype(np.float64) @ (1, 1j) for points in (source, target))
    spread = np.sum(np.abs(a - a.mean()) ** 2)
    turn = np.sum((b - b.mean()) * np.conj(a - a.mean())) / spread
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align_all(image: Image, faces: Faces, size: int = SIDE) -> list[Image | None]:
    """Every face, aligned, or None where its landmarks coincide; see `align`.

    Raises:
        ValueError: `size` is below 1, or the faces have no landmarks or are of an image of
            another size.
    """
    check_size(image, faces)
    if faces.landmarks is None:
        raise ValueError("this model finds no landmarks, so its faces cannot be aligned")
    return [align(image, points, size) for points in faces.landmarks]


def align(image: Image, landmarks: NDArray[np.floating], size: int = SIDE) -> Image | None:
    """One face, its landmarks as near as can be to `TEMPLATE`.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: [5, 2], of the face, px.
        size: side of the result, px.

    Returns:
        uint8 [size, size, 3], black beyond the image; None if all landmarks lie in one point.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"size is {size}; give 1 or more pixels")
    matrix = similarity(TEMPLATE * (size / SIDE), landmarks)
    # Corners of pixels are whole numbers, to Pillow as to the landmarks.
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if not scale > SMALLEST:
        return None
    whole = PillowImage.fromarray(image)
    factor = max(int(scale), 1)
    if factor > 1:
        # An interpolation of a few pixels would skip the others.
        corners = matrix @ np.array([(0, 0, 1), (size, 0, 1), (0, size, 1), (size, size, 1)]).T
        left, top = np.floor(corners.min(1)).clip(0, None).astype(int)
        right, bottom = np.minimum(np.ceil(corners.max(1)).astype(int), whole.size)
        if left >= right or top >= bottom:
            return np.zeros((size, size, 3), np.uint8)
        whole = whole.reduce(factor, box=(left, top, right, bottom))
        matrix[:, 2] -= left, top
        matrix /= factor
    aligned = whole.transform(
        (size, size),
        PillowImage.Transform.AFFINE,
        tuple(matrix.ravel().tolist()),
        PillowImage.Resampling.BICUBIC,
    )
    return np.asarray(aligned, np.uint8)
