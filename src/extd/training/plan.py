"""What a crop shall be, decided by chance before any pixel is read (S3FD's augmentation)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from extd.data.sample import Sample
from extd.models.config import ANCHOR_SIZES
from extd.training.recipe import Augmentation, Recipe

Interpolation = Literal["nearest", "linear", "cubic", "area", "lanczos"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "linear", "cubic", "area", "lanczos")

TRIES = (5, 45)
"""Random squares tried together: mostly one of the first five holds a face."""


class Square(NamedTuple):
    """A square region of a picture in whole px; it may reach beyond the picture."""

    left: int
    top: int
    side: int


class Color(NamedTuple):
    """SSD's photometric distortion.

    Attributes:
        brightness: added, of 255.
        contrast: factor.
        saturation: factor.
        hue: turn, degrees.
        contrast_first: contrast comes before hue and saturation, not after.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_first: bool = False


UNCHANGED = Color()


@dataclass(frozen=True, slots=True)
class Plan:
    """One crop.

    Attributes:
        picture: index of the picture.
        square: what is cut out of it.
        size: side of the crop, px.
        interpolation: how the square is brought to that size.
        color: how colours are distorted.
        horizontal_flip: mirror it.
        vertical_flip: turn it upside down.
    """

    picture: int
    square: Square
    size: int
    interpolation: Interpolation = "linear"
    color: Color = UNCHANGED
    horizontal_flip: bool = False
    vertical_flip: bool = False


def crop_size(recipe: Recipe, step: int) -> int:
    """Side of all crops of step number `step`, px."""
    sizes = recipe.augmentation.crops
    if len(sizes) == 1:
        return sizes[0]
    if recipe.augmentation.crop_order == "growing":
        return sizes[step * len(sizes) // recipe.iterations]
    # A place of its own after the crops': (seed, step) alone would repeat the crop at place 0.
    rng = np.random.default_rng((recipe.seed, step, recipe.batch))
    return sizes[int(rng.random() * len(sizes))]


def draw(
    pictures: Sequence[Sample],
    shares: NDArray[np.float64],
    size: int,
    settings: Augmentation,
    rng: Generator,
) -> Plan:
    """Draw a crop of `size` px.

    Args:
        pictures: to draw from.
        shares: as of `extd.training.store.sampling_shares`; it leaves out pictures without faces.
        size: side of the crop, px.
        settings: probabilities and ranges.
        rng: the only source of chance.
    """
    index = int(shares.searchsorted(rng.random(), "right"))
    picture = pictures[index]
    kind = rng.random()
    sized = settings.anchor_sampling + settings.size_sampling
    if kind < settings.anchor_sampling:
        square = anchor_sampled_square(picture.boxes, size, rng)
    elif kind < sized:
        square = size_sampled_square(picture.boxes, size, settings, rng)
    elif kind < sized + settings.zoom_out:
        square = zoomed_out_square(picture.width, picture.height, rng)
    elif kind < sized + settings.zoom_out + settings.unscaled:
        square = unscaled_square(picture.width, picture.height, size, rng)
    else:
        square = random_square(picture.boxes, picture.width, picture.height, settings, rng)
    return Plan(
        index,
        square,
        size,
        INTERPOLATIONS[int(rng.random() * len(INTERPOLATIONS))],
        draw_color(rng) if settings.color else UNCHANGED,
        rng.random() < settings.horizontal_flip,
        rng.random() < settings.vertical_flip,
    )


def anchor_sampled_square(boxes: NDArray[np.float32], size: int, rng: Generator) -> Square:
    """Data-anchor-sampling (PyramidBox, section 3.3): give a random face the size of an anchor.

    The target is drawn evenly from the anchors up to one above the nearest to the face, and
    varied by a factor of 1/2 to 2; a square that contains the face is placed at random.

    Args:
        boxes: N x 4 float32 faces, xyxy px, N > 0.
        size: side of the crop, px; larger anchors are not aimed at.
        rng: source of chance.
    """
    box = boxes[int(rng.random() * len(boxes))]
    face = _size(box)
    anchors = [anchor for anchor in ANCHOR_SIZES if anchor <= size]
    distances = [abs(math.log(anchor / face)) for anchor in anchors]
    choices = min(distances.index(min(distances)) + 2, len(anchors))
    target = anchors[int(rng.random() * choices)] * 2 ** (2 * rng.random() - 1)
    return _square_around(box, size * face / target, rng)


def size_sampled_square(
    boxes: NDArray[np.float32], size: int, settings: Augmentation, rng: Generator
) -> Square:
    """Give a random face a size of any order of magnitude, in a square placed at random.

    Args:
        boxes: N x 4 float32 faces, xyxy px, N > 0.
        size: side of the crop, px.
        settings: the sizes aimed at, and how much a picture may be enlarged.
        rng: source of chance.
    """
    box = boxes[int(rng.random() * len(boxes))]
    least, most = settings.face_sizes[0], settings.face_sizes[1] * size
    target = least * (most / least) ** rng.random()
    side = max(size * _size(box) / target, size / settings.most_enlarged)
    return _square_around(box, side, rng)


def zoomed_out_square(width: int, height: int, rng: Generator) -> Square:
    """A square that holds a picture of `width` x `height` px, up to twice as long."""
    side = math.ceil(max(width, height) * (1 + rng.random()))
    return Square(_place(0, width, side, rng), _place(0, height, side, rng), side)


def unscaled_square(width: int, height: int, size: int, rng: Generator) -> Square:
    """A square of `size` px in a picture of `width` x `height` px, or one that holds it."""
    return Square(_place(0, width, size, rng), _place(0, height, size, rng), size)


def _size(box: NDArray[np.float32]) -> float:
    x1, y1, x2, y2 = box.tolist()
    return math.sqrt((x2 - x1) * (y2 - y1))


def _square_around(box: NDArray[np.float32], side: float, rng: Generator) -> Square:
    """A square of about that side that holds `box`, or lies inside it if smaller."""
    x1, y1, x2, y2 = box.tolist()
    whole = max(round(side), 1)
    return Square(_place(x1, x2, whole, rng), _place(y1, y2, whole, rng), whole)


def _place(low: float, high: float, side: int, rng: Generator) -> int:
    """Where a window of `side` begins that holds [low, high], or lies inside it if smaller."""
    return round(low + (high - side - low) * rng.random())


def random_square(
    boxes: NDArray[np.float32], width: int, height: int, settings: Augmentation, rng: Generator
) -> Square:
    """A square inside the picture that covers at least one whole face (S3FD, section 3.4).

    After 50 tries without a face it is the whole short side around a random face.

    Args:
        boxes: N x 4 float32 faces, xyxy px, N > 0.
        width: of the picture, px.
        height: of the picture, px.
        settings: range of the side.
        rng: source of chance.
    """
    short = min(width, height)
    smallest, largest = settings.square
    x1, y1, x2, y2 = boxes.T
    for tries in TRIES:
        whole, share, across, down = rng.random((4, tries, 1))
        share = np.where(whole < settings.whole, 1.0, smallest + (largest - smallest) * share)
        side = np.maximum(np.rint(short * share), 1)
        left = np.floor(across * (width - side + 1))
        top = np.floor(down * (height - side + 1))
        holds = (x1 >= left) & (y1 >= top) & (x2 <= left + side) & (y2 <= top + side)
        found = holds.any(1)
        first = int(found.argmax())
        if found[first]:
            return Square(int(left[first, 0]), int(top[first, 0]), int(side[first, 0]))
    face = boxes[int(rng.random() * len(boxes))].tolist()
    left_edge = (face[0] + face[2] - short) / 2
    top_edge = (face[1] + face[3] - short) / 2
    return Square(
        round(min(max(left_edge, 0), width - short)),
        round(min(max(top_edge, 0), height - short)),
        short,
    )


def draw_color(rng: Generator) -> Color:
    """Each part with probability one half, contrast before or after the colour changes.

    Brightness ±0.125 of the range, contrast and saturation by 0.5 to 1.5, hue ±18 degrees.
    """
    return Color(
        brightness=255 * (0.25 * rng.random() - 0.125) if rng.random() < 0.5 else 0.0,
        contrast=0.5 + rng.random() if rng.random() < 0.5 else 1.0,
        saturation=0.5 + rng.random() if rng.random() < 0.5 else 1.0,
        hue=36 * rng.random() - 18 if rng.random() < 0.5 else 0.0,
        contrast_first=rng.random() < 0.5,
    )
