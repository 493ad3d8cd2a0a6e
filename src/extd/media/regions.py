"""Regions of an image around its faces."""

from __future__ import annotations

import math

import numpy as np

from extd.boxes import Boxes
from extd.faces import Faces
from extd.images import Image


def around(faces: Faces, margin: float) -> Boxes:
    """The boxes of the faces, each wider by `margin` of its own sides on all four of them.

    Returns:
        float32 [N, 4] of x1, y1, x2, y2 in pixels; they may reach over the image's border.

    Raises:
        ValueError: the margin is negative or not finite.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin is {margin}; give 0 or more, as a share of the face")
    more = (faces.boxes[:, 2:] - faces.boxes[:, :2]) * np.float32(margin)
    return np.concatenate([faces.boxes[:, :2] - more, faces.boxes[:, 2:] + more], axis=1)


def copied(image: Image, out: Image | None) -> Image:
    """The pixels of `image` in `out`, which may be `image`, or in a new array.

    Raises:
        ValueError: `out` is no such array, or cannot be written.
    """
    if out is None:
        return image.copy()
    if out.dtype != np.uint8 or out.shape != image.shape or not out.flags.writeable:
        what = "" if out.flags.writeable else "read-only "
        raise ValueError(
            f"out is {what}{out.dtype} {list(out.shape)}; give writable uint8 {list(image.shape)}"
        )
    if out is not image:
        out[:] = image
    return out


def check_image(image: Image) -> None:
    """Refuse what is not an image.

    Raises:
        ValueError: `image` is not uint8 [H, W, 3], or has no pixel.
    """
    given: object = image
    if not isinstance(given, np.ndarray):
        raise ValueError(f"the image is {given!r}; give what extd.read_image makes of it")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        what = f"{image.dtype} {list(image.shape)}"
        raise ValueError(f"the image is {what}; give uint8 [H, W, 3], as extd.read_image does")


def check_size(image: Image, faces: Faces) -> None:
    """Refuse faces of another image, and what is not an image.

    Raises:
        ValueError: `image` is not uint8 [H, W, 3]; `faces` are of an image of another size.
    """
    check_image(image)
    height, width = image.shape[:2]
    if (faces.width, faces.height) != (width, height):
        raise ValueError(
            f"the faces are of an image of {faces.width} x {faces.height} px, "
            f"but the image has {width} x {height}"
        )
