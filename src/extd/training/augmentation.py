"""Random crops: their parameters are drawn, then images are cut by OpenCV and labels moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from extd.data.sample import Sample
from extd.models.config import ANCHOR_SIZES, MEAN
from extd.pixels import Image
from extd.training.assigners import Labels
from extd.training.recipe import Augmentation, Recipe

INTERPOLATIONS = (
    cv2.INTER_NEAREST_EXACT,
    cv2.INTER_LINEAR,
    cv2.INTER_CUBIC,
    cv2.INTER_AREA,
    cv2.INTER_LANCZOS4,
)
TRIES = (5, 45)
"""Random squares tried together: mostly one of the first five holds a face."""
MIRRORED = [2, 3, 0, 1, 4, 5, 8, 9, 6, 7]
"""Where the eyes, nose and mouth corners of a mirrored face come from, x and y."""
PADDING = 8
"""Boxes are padded to a multiple of this, so that few shapes occur."""


class Square(NamedTuple):
    """A square region of an image in whole px; it may reach beyond the image."""

    left: int
    top: int
    side: int


class Color(NamedTuple):
    """SSD's photometric distortion: brightness added, of 255; factors; hue turned, degrees.

    Contrast comes before hue and saturation, or after.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_first: bool = False


UNCHANGED = Color()


@dataclass(frozen=True, slots=True)
class CropParams:
    """One crop: which `square` of image number `image`, resized to `size` px.

    Boxes move left by `flip_shift` px of the image if it is mirrored.
    """

    image: int
    square: Square
    size: int
    interpolation: int = cv2.INTER_LINEAR
    color: Color = UNCHANGED
    horizontal_flip: bool = False
    vertical_flip: bool = False
    flip_shift: float = 0.0


def crop_size(recipe: Recipe, step: int) -> int:
    """Side of all crops of step number `step`, px."""
    sizes = recipe.augmentation.crop_sizes
    if len(sizes) == 1:
        return sizes[0]
    if recipe.augmentation.crop_order == "growing":
        return sizes[step * len(sizes) // recipe.iterations]
    # A seed of its own after the crops': (seed, step) alone would repeat the crop at place 0.
    rng = np.random.default_rng((recipe.seed, step, recipe.batch))
    return sizes[int(rng.random() * len(sizes))]


def sample_crop(
    samples: Sequence[Sample],
    shares: NDArray[np.float64],
    size: int,
    settings: Augmentation,
    rng: Generator,
) -> CropParams:
    """Draw a crop of `size` px, before any pixel is read; `rng` is the only source of chance.

    `shares` are those of `ImageCache`. An image without faces is shown at its own scale.
    """
    index = int(shares.searchsorted(rng.random(), "right"))
    sample = samples[index]
    whole = (0, 0, sample.width, sample.height)
    kind = rng.random()
    sized = settings.anchor_sampling_prob + settings.size_sampling_prob
    zoomed = sized + settings.zoom_out_prob
    if not len(sample.boxes):
        square = _square_around(whole, size, rng)
    elif kind < settings.anchor_sampling_prob:
        square = anchor_sampled_square(sample.boxes, size, rng)
    elif kind < sized:
        square = size_sampled_square(sample.boxes, size, settings, rng)
    elif kind < zoomed:
        square = _square_around(whole, math.ceil(max(whole) * (1 + rng.random())), rng)
    elif kind < zoomed + settings.native_scale_prob:
        most = max(settings.native_longest / max(whole), 1.0)
        square = _square_around(whole, size / most ** rng.random(), rng)
    else:
        square = random_square(sample, settings, rng)
    return CropParams(
        index,
        square,
        size,
        INTERPOLATIONS[int(rng.random() * len(INTERPOLATIONS))],
        sample_color(rng, settings.dark_prob) if settings.color else UNCHANGED,
        rng.random() < settings.horizontal_flip_prob,
        rng.random() < settings.vertical_flip_prob,
        settings.flip_shift,
    )


def anchor_sampled_square(boxes: NDArray[np.float32], size: int, rng: Generator) -> Square:
    """Data-anchor-sampling (PyramidBox, section 3.3): give a random face the size of an anchor.

    The target is drawn evenly from the anchors up to one above the nearest to the face, and
    varied by a factor of 1/2 to 2. The square contains the face at a random place.
    """
    box, face = _random_face(boxes, rng)
    anchors = [anchor for anchor in ANCHOR_SIZES if anchor <= size]
    distances = [abs(math.log(anchor / face)) for anchor in anchors]
    choices = min(distances.index(min(distances)) + 2, len(anchors))
    target = anchors[int(rng.random() * choices)] * 2 ** (2 * rng.random() - 1)
    return _square_around(box, size * face / target, rng)


def size_sampled_square(
    boxes: NDArray[np.float32], size: int, settings: Augmentation, rng: Generator
) -> Square:
    """Give a random face a size of any order of magnitude, in a square placed at random."""
    box, face = _random_face(boxes, rng)
    least, most = settings.face_sizes[0], settings.face_sizes[1] * size
    target = least * (most / least) ** rng.random()
    side = max(size * face / target, size / settings.max_upscale)
    return _square_around(box, side, rng)


def random_square(sample: Sample, settings: Augmentation, rng: Generator) -> Square:
    """A square inside the image that covers at least one whole face (S3FD, section 3.4).

    After 50 tries without a face it is as long as the short side, around a random face.
    """
    width, height, short = sample.width, sample.height, min(sample.width, sample.height)
    smallest, largest = settings.square_range
    x1, y1, x2, y2 = sample.boxes.T
    for tries in TRIES:
        full, share, across, down = rng.random((4, tries, 1))
        share = np.where(full < settings.full_side_prob, 1, smallest + (largest - smallest) * share)
        side = np.maximum(np.rint(short * share), 1)
        left = np.floor(across * (width - side + 1))
        top = np.floor(down * (height - side + 1))
        holds = (x1 >= left) & (y1 >= top) & (x2 <= left + side) & (y2 <= top + side)
        found = holds.any(1)
        first = int(found.argmax())
        if found[first]:
            return Square(int(left[first, 0]), int(top[first, 0]), int(side[first, 0]))
    (x1, y1, x2, y2), _ = _random_face(sample.boxes, rng)
    left_edge = min(max((x1 + x2 - short) / 2, 0), width - short)
    top_edge = min(max((y1 + y2 - short) / 2, 0), height - short)
    return Square(round(left_edge), round(top_edge), short)


def sample_color(rng: Generator, dark_prob: float = 0.0) -> Color:
    """Each part with probability one half, contrast before or after the color changes.

    Brightness ±0.125 of the range, contrast and saturation by 0.5 to 1.5, hue ±18 degrees. With
    `dark_prob`, contrast once more by 0.1 to 0.5.
    """
    color = Color(
        brightness=255 * (0.25 * rng.random() - 0.125) if rng.random() < 0.5 else 0.0,
        contrast=0.5 + rng.random() if rng.random() < 0.5 else 1.0,
        saturation=0.5 + rng.random() if rng.random() < 0.5 else 1.0,
        hue=36 * rng.random() - 18 if rng.random() < 0.5 else 0.0,
        contrast_first=rng.random() < 0.5,
    )
    if rng.random() >= dark_prob:
        return color
    return color._replace(contrast=color.contrast * (0.1 + 0.4 * rng.random()))


def _random_face(boxes: NDArray[np.float32], rng: Generator) -> tuple[list[float], float]:
    """One of the boxes, xyxy, and the square root of its area."""
    x1, y1, x2, y2 = box = boxes[int(rng.random() * len(boxes))].tolist()
    return box, math.sqrt((x2 - x1) * (y2 - y1))


def _square_around(box: Sequence[float], side: float, rng: Generator) -> Square:
    """A square of about that side that contains `box` (xyxy), or lies inside it, at random."""
    whole = max(round(side), 1)
    left, top = (
        low + (high - whole - low) * rng.random()
        for low, high in zip(box[:2], box[2:], strict=True)
    )
    return Square(round(left), round(top), whole)


def cut(image: Image, params: CropParams) -> Image:
    """The crop of H x W x 3 RGB `image`: S x S x 3 uint8. Outside the image is the mean color."""
    height, width = image.shape[:2]
    (left, top, side), size = params.square, params.size
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, width), min(top + side, height)
    canvas = np.full((size, size, 3), MEAN, np.uint8)
    scale = size / side
    # Resize only what the image covers: a far zoom-out never allocates the padding.
    u0, v0 = round((x0 - left) * scale), round((y0 - top) * scale)
    u1, v1 = round((x1 - left) * scale), round((y1 - top) * scale)
    if u1 > u0 and v1 > v0 and x1 > x0 and y1 > y0:
        method = params.interpolation
        region = cv2.resize(image[y0:y1, x0:x1], (u1 - u0, v1 - v0), interpolation=method)
        canvas[v0:v1, u0:u1] = distort(np.asarray(region, np.uint8), params.color)
    for axis, flipped in ((1, params.horizontal_flip), (0, params.vertical_flip)):
        if flipped:
            canvas = np.asarray(cv2.flip(canvas, axis), np.uint8)
    return canvas


def distort(image: Image, color: Color) -> Image:
    """Change the colors of H x W x 3 uint8 RGB."""
    if color == UNCHANGED:
        return image
    # Tables of 256 values cost a tenth of the same arithmetic in float.
    value = np.arange(256, dtype=np.float32)
    first = (value + color.brightness) * (color.contrast if color.contrast_first else 1.0)
    image = _lookup(image, first)
    if color.saturation != 1 or color.hue != 0:
        hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL), np.uint8)
        hue = (value + color.hue * 256 / 360).round() % 256
        hsv = _lookup(hsv, np.stack([hue, value * color.saturation, value], 1))
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), np.uint8)
    if not color.contrast_first:
        image = _lookup(image, value * color.contrast)
    return image


def _lookup(image: Image, table: NDArray[np.float32]) -> Image:
    """Replace every value of `image` by that of a table of 256, or of one for each channel."""
    whole = table.clip(0, 255).round().astype(np.uint8).reshape(1, 256, -1)
    return np.asarray(cv2.LUT(image, whole), np.uint8)


def crop_labels(crops: Sequence[CropParams], samples: Sequence[Sample], min_face: float) -> Labels:
    """The labels of B crops of `samples`, in crop px.

    A face stays if its center lies inside the crop. One whose shorter side is below `min_face`
    crop px becomes a region to ignore; such regions stay if any part lies inside.
    """
    labels = [_crop_labels(crop, samples[crop.image], min_face) for crop in crops]
    faces, ignore, landmarks = zip(*labels, strict=True)
    return Labels(*_pad(faces), *_pad(ignore), _pad(landmarks)[0])


def _crop_labels(
    crop: CropParams, sample: Sample, min_face: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Faces, ignored regions and landmarks of one crop."""
    faces, ignore = _move_boxes(sample.boxes, crop), _move_boxes(sample.ignore, crop)
    landmarks = np.full((len(faces), 10), np.nan)
    if sample.landmarks is not None:
        landmarks = _move(sample.landmarks, crop)
        if crop.horizontal_flip:
            landmarks = landmarks[:, MIRRORED]
    center = (faces[:, :2] + faces[:, 2:]) / 2
    inside = ((center > 0) & (center < crop.size)).all(1)
    tiny = inside & ((faces[:, 2:] - faces[:, :2]).min(1) < min_face)
    kept = inside & ~tiny
    ignore = np.concatenate([ignore, faces[tiny]])
    visible = ((ignore[:, 2:] > 0) & (ignore[:, :2] < crop.size)).all(1)
    return faces[kept], ignore[visible], landmarks[kept]


def _move_boxes(boxes: NDArray[np.float32], crop: CropParams) -> NDArray[np.float64]:
    moved = _move(boxes, crop)
    if crop.horizontal_flip:
        moved[:, ::2] -= crop.flip_shift * crop.size / crop.square.side
    # A flip exchanges the corners.
    a, b = moved[:, :2], moved[:, 2:]
    return np.hstack([np.minimum(a, b), np.maximum(a, b)])


def _move(points: NDArray[np.float32], crop: CropParams) -> NDArray[np.float64]:
    """Rows of x, y, x, y ... from image px to crop px."""
    left, top, side = crop.square
    pairs = points.astype(np.float64).reshape(-1, 2)
    moved = (pairs - (left, top)) * (crop.size / side)
    flips = (crop.horizontal_flip, crop.vertical_flip)
    return np.where(flips, crop.size - moved, moved).reshape(points.shape)


def _pad(rows: Sequence[NDArray[np.float64]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The boxes or landmarks of each crop, padded to equal numbers; which are not padding."""
    lengths = np.array([len(each) for each in rows])
    width = max(-(-lengths.max() // PADDING), 1) * PADDING
    real = np.arange(width) < lengths[:, None]
    padded = np.zeros((*real.shape, rows[0].shape[1]), np.float32)
    padded[real] = np.concatenate(rows)
    return torch.from_numpy(padded), torch.from_numpy(real)
