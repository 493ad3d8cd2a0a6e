"""Crops cut on the device that holds all images: whole batches as tensor operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from extd.models.config import MEAN
from extd.training.augmentation import CropParams
from extd.training.image_cache import ImageCache

LEVELS = 8
"""Sizes that an image is kept in, each half of the one before; below the last, px are skipped."""
CHUNK = 2**26
"""Bytes uploaded at a time."""
MAX_MEMORY = 0.8
"""Share of a GPU's free memory that images may take."""


@dataclass(frozen=True, slots=True)
class Pyramids:
    """Images in the memory of a device, also at 1/2, 1/4 ... of their size.

    A pixel of level l is the mean of 2^l x 2^l px, of fewer at the right and bottom borders, so
    that x at level l is x / 2^l exactly. `pixels` (P x 3 uint8 RGB) has every level row by row,
    `begins` (images x LEVELS) says where, and `sizes` (images x 2) are widths and heights, px.
    """

    pixels: Tensor
    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]


def upload(cache: ImageCache, device: torch.device) -> Pyramids:
    """Put all images and their smaller copies into the memory of `device`.

    Raises:
        ValueError: they do not fit.
    """
    sizes = np.array([(sample.width, sample.height) for sample in cache.samples], np.int64)
    areas = np.stack([_halved(sizes, level).prod(1) for level in range(LEVELS)], 1)
    # Level 0 of all images comes first, as in the cache.
    ends = areas.T.cumsum().reshape(LEVELS, -1).T
    begins = ends - areas
    count = int(ends[-1, -1])
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf
    if 3 * count > MAX_MEMORY * free:
        raise ValueError(
            f"the images take {3 * count / 2**30:.1f} GiB on {device}, which has "
            f"{free / 2**30:.1f} GiB free; set compute.feed to cpu, or shrink the images"
        )
    pixels = torch.empty((count, 3), dtype=torch.uint8, device=device)
    flat = pixels.view(-1)
    for begin in range(0, cache.offsets[-1], CHUNK):
        part = np.array(cache.bytes[begin : min(begin + CHUNK, cache.offsets[-1])])
        flat[begin : begin + len(part)].copy_(torch.from_numpy(part))
    for (width, height), places, area in zip(sizes, begins, areas, strict=True):
        whole = pixels[places[0] : places[0] + area[0]]
        smaller = whole.view(1, height, width, 3).permute(0, 3, 1, 2).float()
        for begin, length in zip(places[1:], area[1:], strict=True):
            smaller = F.avg_pool2d(smaller, 2, ceil_mode=True)
            pixels[begin : begin + length] = smaller[0].flatten(1).T.round()
    return Pyramids(pixels, begins, sizes)


def _halved(lengths: NDArray[np.int64], times: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths in px, halved some times and rounded up."""
    rounded: NDArray[np.int64] = -(-lengths >> times)
    return rounded


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, without waiting for the copy."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def cut_batch(pyramids: Pyramids, crops: Sequence[CropParams]) -> Tensor:
    """The `crops`, which all have one size: B x 3 x S x S uint8 RGB.

    They equal those of `extd.training.augmentation.cut`, but a square is always enlarged with
    bilinear interpolation and shrunk by averaging areas, of at most 3 x 3 px of the level that is
    nearest above the crop's scale.
    """
    device, size = pyramids.pixels.device, crops[0].size
    numbers = to_device(_geometry(pyramids, crops), device)
    begin, across, down, color = numbers[:, :1], numbers[:, 1:6], numbers[:, 6:11], numbers[:, 11:]
    columns, column_weights, column_inside = _taps(across, size)
    rows, row_weights, row_inside = _taps(down, size)
    # A row of the level has as many px as `across` says.
    rows = begin.long()[..., None] + rows * across[:, 2, None, None].long()
    images = torch.zeros((len(crops), size, size, 3), device=device)
    for row, row_weight in zip(rows.unbind(2), row_weights.unbind(2), strict=True):
        line = torch.zeros_like(images)
        for column, weight in zip(columns.unbind(2), column_weights.unbind(2), strict=True):
            pixels = pyramids.pixels[row[:, :, None] + column[:, None]]
            line.addcmul_(pixels, weight[:, None, :, None])
        images.addcmul_(line, row_weight[:, :, None, None])
    inside = (row_inside[:, :, None] & column_inside[:, None])[:, None]
    mean = to_device(torch.tensor(MEAN, dtype=torch.float32), device)[:, None, None]
    return torch.where(inside, distort(images.permute(0, 3, 1, 2), color), mean).byte()


def _geometry(pyramids: Pyramids, crops: Sequence[CropParams]) -> Tensor:
    """What `cut_batch` needs to know of each crop, B x 16 float64.

    Where its level begins; for x, then for y: where the crop begins, level px per crop px, px of
    the level, length of the image in level px, flip; then the five values of the color.
    """
    chosen = np.array([crop.image for crop in crops])
    *starts, side = np.array([crop.square for crop in crops], np.float64).T
    flips = np.array([(crop.horizontal_flip, crop.vertical_flip) for crop in crops])
    colors = np.array([crop.color for crop in crops], np.float64)
    step = side / crops[0].size
    level = np.log2(step).clip(0, LEVELS - 1).astype(np.int64)
    shrunk = 2.0**level
    table = [pyramids.begins[chosen, level]]
    for start, length, flip in zip(starts, pyramids.sizes[chosen].T, flips.T, strict=True):
        count = _halved(length, level)
        table += [start / shrunk, step / shrunk, count, length / shrunk, flip]
    return torch.from_numpy(np.column_stack([*table, colors]).astype(np.float64))


def _taps(axis: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where the S pixels of a crop come from along one axis, B x 5 as of `_geometry`.

    B x S x 3 indices in the level and weights, which sum to 1; B x S bool, whether in the image.
    """
    start, step, count, length, flip = (value[:, None] for value in axis.unbind(1))
    place = torch.arange(size, dtype=torch.float64, device=axis.device) + 0.5
    center = start + step * torch.where(flip > 0, size - place, place)
    # An area of one px that lies between two px weighs them as bilinear interpolation does.
    reach = step.clamp(1, 2)
    low = center - reach / 2
    index = low.floor()[..., None] + torch.arange(3, device=axis.device)
    covered = torch.minimum(index + 1, (low + reach)[..., None])
    covered = covered - torch.maximum(index, low[..., None])
    weights = (covered.clamp(min=0) / reach[..., None]).float()
    index = torch.minimum(index.clamp(min=0), count[..., None] - 1).long()
    return index, weights, (center > 0) & (center < length)


def distort(images: Tensor, color: Tensor) -> Tensor:
    """Change the colors of B x 3 x H x W float32 RGB of 0 to 255, and round.

    `color` is B x 5, rows of `extd.training.augmentation.Color`.
    """
    brightness, contrast, saturation, hue, first = color.float().T[..., None, None, None]
    images = images + brightness
    images = (images * torch.where(first > 0, contrast, 1.0)).clamp(0, 255)
    red, green, blue = images.chunk(3, 1)
    value, darkest = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = value - darkest
    # Hue in sixths of the circle, from red over green to blue.
    sixth = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma),
    ) / chroma.clamp(min=1e-6)
    chroma = torch.minimum(chroma * saturation, value)
    # From HSV: each channel falls below the value where the hue is far from its own.
    nearest = 5 - 2 * torch.arange(3, device=images.device)[:, None, None]
    turn = (sixth + hue / 60 + nearest) % 6
    images = value - chroma * torch.minimum(turn, 4 - turn).clamp(0, 1)
    return (images * torch.where(first > 0, 1.0, contrast)).clamp(0, 255).round()
