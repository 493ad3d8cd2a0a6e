"""Faces cut out of an image, as they are or aligned, and regions around faces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.Image import Resampling, Transform

from extd.boxes import Boxes, grow, longer_side
from extd.faces import Faces
from extd.pixels import Image

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


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A face cut out."""

    image: Image  # uint8 [y2 - y1, x2 - x1, 3], RGB; it shares no memory with the image
    box: tuple[int, int, int, int]  # xyxy px; may reach over the border
    index: int  # position of the face among those of the image, from 0


def crops(
    image: Image, faces: Faces, *, margin: float = 0.0, square: bool = False, min_face: float = 0.0
) -> list[Crop]:
    """Cut out every face.

    Beyond the image the pixels at its border are repeated, so that every face is in the middle of
    its crop.

    Args:
        image: uint8 [H, W, 3], RGB; it is not changed.
        faces: those of this image.
        margin: what to add on each side, as a share of the box's own sides.
        square: lengthen the shorter side equally at both ends.
        min_face: leave out faces whose longer side is below this, in pixels.

    Returns:
        The crops, in the order of the faces and at least 1 x 1 px.

    Raises:
        ValueError: `image` is no such array; `faces` are of an image of another size; a value
            is negative or not finite.
    """
    check_image(image, faces)
    if not 0 <= min_face < math.inf:
        raise ValueError(f"min_face is {min_face}; give 0 or more pixels")
    regions = around(faces, margin).astype(np.float64)
    near = np.floor(regions[:, :2])
    sides = np.maximum(np.ceil(regions[:, 2:]) - near, 1)
    if square:
        longest = sides.max(axis=1, keepdims=True)
        near -= (longest - sides) // 2
        sides[:] = longest
    boxes = np.concatenate([near, near + sides], axis=1).astype(int).tolist()
    height, width = image.shape[:2]
    found = []
    for index in np.flatnonzero(longer_side(faces.boxes) >= min_face).tolist():
        x1, y1, x2, y2 = boxes[index]
        rows = np.arange(y1, y2).clip(0, height - 1)
        columns = np.arange(x1, x2).clip(0, width - 1)
        found.append(Crop(image[np.ix_(rows, columns)], (x1, y1, x2, y2), index))
    return found


def align_all(image: Image, faces: Faces, size: int = SIDE) -> list[Image | None]:
    """Every face, aligned, or None where its landmarks coincide; errors are those of `align`.

    Raises:
        ValueError: the faces have no landmarks, or are of an image of another size.
    """
    check_image(image, faces)
    if faces.landmarks is None:
        raise ValueError("this model finds no landmarks, so its faces cannot be aligned")
    return [align(image, points, size) for points in faces.landmarks]


def align(image: Image, landmarks: NDArray[np.floating], size: int = SIDE) -> Image | None:
    """Turn a face upright and scale it, its landmarks [5, 2] as close as possible to `TEMPLATE`.

    Returns:
        uint8 [size, size, 3], black beyond the image; None if all landmarks are one point.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"size is {size}; give 1 or more pixels")
    matrix = similarity(TEMPLATE * (size / SIDE), landmarks)
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if not scale > SMALLEST:
        return None
    # Interpolation looks at a few pixels, so a large face is sampled in its own size, then reduced.
    factor = max(min(int(scale), max(image.shape) // size), 1)
    matrix[:, :2] /= factor
    aligned = PillowImage.fromarray(image).transform(
        (size * factor, size * factor),
        Transform.AFFINE,
        tuple(matrix.ravel().tolist()),
        Resampling.BICUBIC if factor == 1 else Resampling.BILINEAR,
    )
    return np.asarray(aligned.reduce(factor), np.uint8)


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rotation, scale and translation that best fit N points to N others in least squares.

    From Umeyama, 1991, equations 40 to 43; in the plane, a rotation is a complex number. The
    points are [N, 2], those of `source` not all equal.

    Returns:
        [2, 3]: target is about matrix[:, :2] @ source + matrix[:, 2].
    """
    a, b = (points.astype(np.float64) @ (1, 1j) for points in (source, target))
    spread = np.sum(np.abs(a - a.mean()) ** 2)
    turn = np.sum((b - b.mean()) * np.conj(a - a.mean())) / spread
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def around(faces: Faces, margin: float) -> Boxes:
    """The boxes [N, 4] of the faces, extended on each side by a share of their own sides.

    They may reach beyond the image.

    Raises:
        ValueError: the margin is negative or not finite.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin is {margin}; give 0 or more, as a share of the face")
    return grow(faces.boxes, margin)


def canvas_of(image: Image, faces: Faces, out: Image | None) -> Image:
    """The pixels of `image` in `out`, which may be `image`, or in a new array.

    Raises:
        ValueError: see `check_image`; `out` has another size or type.
    """
    check_image(image, faces)
    if out is None:
        return image.copy()
    if out.dtype != np.uint8 or out.shape != image.shape:
        given = f"{out.dtype} {list(out.shape)}"
        raise ValueError(f"out is {given}; give writable uint8 {list(image.shape)}")
    if out is not image:
        out[:] = image
    return out


def check_image(image: object, faces: Faces | None = None) -> None:
    """Refuse what is not a uint8 array [H, W, 3], or not of the size that `faces` name.

    Raises:
        ValueError: the message says what it is.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(f"the image is {image!r}; give what extd.read_image makes of it")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        what = f"{image.dtype} {list(image.shape)}"
        raise ValueError(f"the image is {what}; give uint8 [H, W, 3], as extd.read_image does")
    height, width = image.shape[:2]
    if faces is not None and (faces.width, faces.height) != (width, height):
        raise ValueError(
            f"the faces are of an image of {faces.width} x {faces.height} px, "
            f"but the image has {width} x {height}"
        )
