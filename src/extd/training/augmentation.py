"""S3FD's augmentation (section 4.1): colour, random squares, data-anchor-sampling, flips."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from extd.models.config import ANCHOR_SIZES, MEAN
from extd.training.recipe import Augmentation

INTERPOLATIONS = (
    cv2.INTER_NEAREST,
    cv2.INTER_LINEAR,
    cv2.INTER_CUBIC,
    cv2.INTER_AREA,
    cv2.INTER_LANCZOS4,
)


@dataclass(frozen=True, slots=True)
class Crop:
    """A training example.

    Attributes:
        image: S x S x 3 uint8 RGB.
        boxes: N x 4 float32 faces, xyxy in crop px, not clipped.
        ignore: M x 4 float32 regions that are neither face nor background.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    ignore: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Square:
    """A square region of a picture in whole px; it may reach beyond the picture."""

    left: int
    top: int
    side: int


def augment(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    ignore: NDArray[np.float32],
    settings: Augmentation,
    rng: Generator,
) -> Crop:
    """Draw one crop of a picture with at least one face.

    Args:
        image: H x W x 3 uint8 RGB.
        boxes: N x 4 float32 faces, xyxy px, N > 0.
        ignore: M x 4 float32 regions to leave out of the loss.
        settings: sizes and probabilities.
        rng: the only source of chance.
    """
    height, width = image.shape[:2]
    if rng.random() < settings.anchor_sampling:
        square = anchor_sampled_square(boxes, settings.crop, rng)
    else:
        square = random_square(boxes, width, height, settings, rng)
    pixels = cut(image, square, settings, rng)
    scale = settings.crop / square.side
    origin = np.array([square.left, square.top] * 2, np.float32)
    boxes, ignore = (boxes - origin) * scale, (ignore - origin) * scale
    if rng.random() < settings.horizontal_flip:
        pixels = pixels[:, ::-1]
        boxes, ignore = (_mirror(b, settings.crop, 0) for b in (boxes, ignore))
    if rng.random() < settings.vertical_flip:
        pixels = pixels[::-1]
        boxes, ignore = (_mirror(b, settings.crop, 1) for b in (boxes, ignore))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    boxes = boxes[((centre > 0) & (centre < settings.crop)).all(1)]
    tiny = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) < settings.min_face
    ignore = np.concatenate([ignore, boxes[tiny]])
    inside = ((ignore[:, 2:] > 0) & (ignore[:, :2] < settings.crop)).all(1)
    return Crop(np.ascontiguousarray(pixels), boxes[~tiny], ignore[inside])


def anchor_sampled_square(boxes: NDArray[np.float32], crop: int, rng: Generator) -> Square:
    """Data-anchor-sampling (PyramidBox, section 3.3): give a random face the size of an anchor.

    The target is drawn evenly from the anchors up to one above the nearest to the face, and
    varied by a factor of 1/2 to 2; a square that contains the face is placed at random.
    """
    box = boxes[rng.integers(len(boxes))].astype(np.float64)
    size = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    anchors = np.array([a for a in ANCHOR_SIZES if a <= crop])
    nearest = int(np.abs(np.log(anchors / size)).argmin())
    target = anchors[rng.integers(min(nearest + 2, len(anchors)))] * 2.0 ** rng.uniform(-1, 1)
    side = max(round(crop * size / target), 1)
    left, top = (_place(box[i], box[i + 2], side, rng) for i in (0, 1))
    return Square(left, top, side)


def _place(low: float, high: float, side: int, rng: Generator) -> int:
    """Where a window of `side` begins that holds [low, high], or lies inside it if smaller."""
    first, last = sorted((high - side, low))
    return round(rng.uniform(first, last))


def random_square(
    boxes: NDArray[np.float32], width: int, height: int, settings: Augmentation, rng: Generator
) -> Square:
    """A square inside the picture that covers at least one whole face (S3FD, section 3.4).

    After 50 tries without a face it is the whole short side around a random face.
    """
    short = min(width, height)
    for _ in range(50):
        share = 1.0 if rng.random() < settings.whole else rng.uniform(*settings.square)
        side = max(round(short * share), 1)
        left, top = (int(rng.integers(0, length - side + 1)) for length in (width, height))
        begins = (boxes[:, :2] >= (left, top)).all(1)
        ends = (boxes[:, 2:] <= (left + side, top + side)).all(1)
        if (begins & ends).any():
            return Square(left, top, side)
    box = boxes[rng.integers(len(boxes))].astype(np.float64)
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    left = round(np.clip(centre_x - short / 2, 0, width - short))
    top = round(np.clip(centre_y - short / 2, 0, height - short))
    return Square(left, top, short)


def cut(
    image: NDArray[np.uint8], square: Square, settings: Augmentation, rng: Generator
) -> NDArray[np.uint8]:
    """`square` of H x W x 3 `image`, resized to the crop by a random interpolation and distorted.

    Beyond the picture is the mean colour.
    """
    height, width = image.shape[:2]
    size = settings.crop
    interpolation = int(rng.choice(INTERPOLATIONS))
    x0, y0 = max(square.left, 0), max(square.top, 0)
    x1, y1 = min(square.left + square.side, width), min(square.top + square.side, height)
    canvas = np.full((size, size, 3), MEAN, np.uint8)
    scale = size / square.side
    # Resize only what the picture covers: a far zoom-out never allocates the padding.
    u0, v0 = round((x0 - square.left) * scale), round((y0 - square.top) * scale)
    u1, v1 = round((x1 - square.left) * scale), round((y1 - square.top) * scale)
    if u1 > u0 and v1 > v0 and x1 > x0 and y1 > y0:
        region = np.ascontiguousarray(image[y0:y1, x0:x1])
        resized = cv2.resize(region, (u1 - u0, v1 - v0), interpolation=interpolation)
        pixels = np.asarray(resized, np.uint8)
        canvas[v0:v1, u0:u1] = distort(pixels, rng) if settings.color else pixels
    return canvas


def distort(image: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """SSD's photometric distortion of H x W x 3 RGB, each part with probability one half.

    Brightness ±0.125 of the range, contrast and saturation by 0.5 to 1.5, hue ±18 degrees;
    contrast comes before or after the colour changes.
    """
    brightness = rng.uniform(-0.125, 0.125) * 255 if rng.random() < 0.5 else 0.0
    contrast = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    saturation = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    hue = rng.uniform(-18, 18) if rng.random() < 0.5 else 0.0
    contrast_first = rng.random() < 0.5
    pixels = image.astype(np.float32)
    pixels += brightness
    if contrast_first:
        pixels *= contrast
    if saturation != 1 or hue != 0:
        hsv = cv2.cvtColor(np.clip(pixels, 0, 255) / 255, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + hue) % 360
        hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
        pixels = (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.float32)
    if not contrast_first:
        pixels *= contrast
    distorted: NDArray[np.uint8] = np.clip(pixels, 0, 255).round().astype(np.uint8)
    return distorted


def _mirror(boxes: NDArray[np.float32], size: int, axis: int) -> NDArray[np.float32]:
    mirrored = boxes.copy()
    mirrored[:, [axis, axis + 2]] = size - boxes[:, [axis + 2, axis]]
    return mirrored
