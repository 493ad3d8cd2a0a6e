"""Faces covered so that nobody is recognized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.Image import Resampling
from PIL.ImageFilter import GaussianBlur

from extd.boxes import Boxes, area, centers, longer_side
from extd.faces import Faces
from extd.images import resize
from extd.media.crops import around, canvas_of, check_image
from extd.pixels import Image

Method = Literal["blur", "pixelate", "solid", "image"]
Shape = Literal["ellipse", "box"]
Region = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""

BLUR = 1 / 6
"""Standard deviation of the Gaussian at strength 1, as a share of the face's longer side."""
CELLS = 4
"""Cells along the face's longer side at strength 1."""
LEAST_BLUR, LEAST_CELL = 2.0, 4.0
"""Pixels below which the standard deviation and a cell never are, so that tiny faces go too."""
SMALL_BLUR = 4.0
"""Standard deviation in pixels that a patch is shrunk to, where the Gaussian is cheap."""
POINTS = 16
"""Points a side at which it is looked up how much of a face is covered."""
COVERED = 0.75
"""Share of a box under covers from which its face counts as covered."""


@dataclass(frozen=True, slots=True, eq=False)
class AnonymizeOptions:
    """How faces are covered, and which are not.

    With the defaults nobody can make out a face. Software that knows the candidates can still
    tell many blurred or pixelated faces apart; `solid` and `image` leave nothing of a face.

    Attributes:
        method: `blur` is a Gaussian with a standard deviation of 1/6 of the face's longer side;
            `pixelate` leaves 4 cells along that side; `solid` is black; `image` is `image`,
            stretched.
        shape: `ellipse` or `box`.
        margin: how far the cover extends beyond the box on each side, as a share of the box's
            own, up to 10. From 0.21 on, an ellipse contains the whole box.
        strength: 2 blurs twice as far, or leaves half the cells; 0.01 to 100.
        image: uint8 [H, W, 3], RGB, for the method `image`.
        keep: regions to leave alone: a face whose center is in one is not covered. A cover of
            another face may reach into them.
        keep_ids: ids of faces to leave alone, likewise.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    method: Method = "blur"
    shape: Shape = "ellipse"
    margin: float = 0.25
    strength: float = 1.0
    image: Image | None = None
    keep: tuple[Region, ...] = ()
    keep_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, kinds in (("method", get_args(Method)), ("shape", get_args(Shape))):
            if getattr(self, name) not in kinds:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give {', '.join(kinds)}")
        for name, least, most in (("margin", 0, 10), ("strength", 0.01, 100)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}; give {least} to {most}")
        if (self.method == "image") != (self.image is not None):
            raise ValueError("the method image needs an image, and no other method takes one")
        if self.image is not None:
            check_image(self.image)
        for x1, y1, x2, y2 in self.keep:
            # Written so that NaN fails too.
            if not (x1 < x2 and y1 < y2):
                raise ValueError(f"the region {x1:g},{y1:g},{x2:g},{y2:g} needs x1 < x2, y1 < y2")


DEFAULT = AnonymizeOptions()


def anonymize(
    image: Image, faces: Faces, options: AnonymizeOptions = DEFAULT, *, out: Image | None = None
) -> Image:
    """Cover every face; the parameters and errors are those of `annotate`."""
    canvas = canvas_of(image, faces, out)
    hidden = _not_kept(faces, options)
    covers = around(hidden, options.margin)
    sides = longer_side(hidden.boxes).tolist()
    # Each cover is made from the canvas, not the image: a weaker blur over a stronger one would
    # bring the face back.
    for index in np.argsort(-area(covers), kind="stable").tolist():
        _cover(canvas, covers[index], sides[index], options)
    return canvas


def uncovered(found: Faces, hidden: Faces, options: AnonymizeOptions = DEFAULT) -> Faces:
    """Of the faces `found` in an anonymized image, those that were not covered.

    A second detection at a low threshold also finds covers. A face is uncovered if less than three
    quarters of its box lie under the covers of the faces `hidden`, unless it is to be kept.
    """
    covers = around(_not_kept(hidden, options), options.margin)
    candidates = _not_kept(found, options)
    steps = (np.arange(POINTS, dtype=np.float32) + 0.5) / POINTS
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 1, 2)
    shares = []
    for box in candidates.boxes:
        points = box[:2] + grid * (box[2:] - box[:2])
        # Only covers that reach the box: there can be thousands.
        apart = (covers[:, 2:] < box[:2] - 1) | (covers[:, :2] > box[2:] + 1)
        near = covers[~apart.any(axis=1)]
        x, y = np.moveaxis(np.abs(points - centers(near)) / _radii(near), -1, 0)
        inside = (np.hypot(x, y) if options.shape == "ellipse" else np.maximum(x, y)) <= 1
        shares.append(inside.any(axis=1).mean())
    return candidates[np.array(shares, np.float64) < COVERED]


def _not_kept(faces: Faces, options: AnonymizeOptions) -> Faces:
    """The faces whose centers are in no region to keep, and whose ids are not to be kept."""
    x, y = centers(faces.boxes).T
    kept = np.zeros(len(faces), np.bool_)
    for x1, y1, x2, y2 in options.keep:
        kept |= (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)
    if faces.ids is not None:
        kept |= np.isin(faces.ids, options.keep_ids)
    return faces[~kept]


def _radii(covers: Boxes) -> NDArray[np.float32]:
    """Half of the width and height of each cover, [N, 2], at least half a pixel."""
    return np.maximum((covers[:, 2:] - covers[:, :2]) / 2, np.float32(0.5))


def _cover(
    canvas: Image, cover: NDArray[np.float32], side: float, options: AnonymizeOptions
) -> None:
    """Cover what lies in `cover` [4], for a face of that longer side in pixels."""
    height, width = canvas.shape[:2]
    # A pixel more, for the soft edge of the ellipse.
    x1, y1 = (np.floor(cover[:2]) - 1).clip(0).astype(int)
    x2, y2 = np.minimum(np.ceil(cover[2:]) + 1, [width, height]).astype(int)
    if x1 >= x2 or y1 >= y2:
        return
    patch = np.ascontiguousarray(canvas[y1:y2, x1:x2])
    x, y = np.arange(x1, x2, dtype=np.float32), np.arange(y1, y2, dtype=np.float32)
    layers = (_replacement(patch, side, options), patch, _mask(cover, options.shape, x, y))
    canvas[y1:y2, x1:x2] = np.asarray(PIL.Image.composite(*map(PIL.Image.fromarray, layers)))


def _mask(
    cover: NDArray[np.float32], shape: Shape, x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """How much of the pixels in columns `x` and rows `y` is covered, 0 to 255."""
    radius_x, radius_y = _radii(cover[None])[0]
    center_x, center_y = centers(cover[None])[0]
    x, y = np.abs(x + 0.5 - center_x), np.abs(y + 0.5 - center_y)[:, None]
    if shape == "box":
        # Whole pixels: any that the box touches.
        inside = (x < radius_x + 0.5) & (y < radius_y + 0.5)
        return np.where(inside, np.uint8(255), np.uint8(0))
    # The edge fades over one pixel.
    outside = (np.hypot(x / radius_x, y / radius_y) - 1) * min(radius_x, radius_y)
    return np.asarray(np.rint(255 * np.clip(1 - outside, 0, 1)), np.uint8)


def _replacement(patch: Image, side: float, options: AnonymizeOptions) -> Image:
    """What is seen in place of a patch [h, w, 3], of the same size."""
    size = patch.shape[1], patch.shape[0]
    if options.method == "blur":
        deviation = max(options.strength * side * BLUR, LEAST_BLUR)
        factor = max(1.0, deviation / SMALL_BLUR)
        blurred = _shrink(patch, factor).filter(GaussianBlur(deviation / factor))
        return resize(np.asarray(blurred), size)
    if options.method == "pixelate":
        cell = max(side / max(1, round(CELLS / options.strength)), LEAST_CELL)
        return np.asarray(_shrink(patch, cell).resize(size, Resampling.NEAREST))
    if options.image is not None:
        return resize(options.image, size)
    return np.zeros_like(patch)


def _shrink(patch: Image, factor: float) -> PIL.Image.Image:
    """The patch with about `factor` times fewer pixels a side, at least one, as their means."""
    height, width = patch.shape[:2]
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return PIL.Image.fromarray(resize(patch, size))
