"""Pre- and postprocessing of EXTD-Lite's raw ONNX files: patches in, boxes out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extd.detections import Detections

PATCH, GRAY = 4, 128
"""Side of a patch, px, and the value of pixels beyond the image."""
BOX, SCORE, LANDMARKS = slice(0, 4), 4, slice(5, None)
"""Channels of the raw output."""


@dataclass(frozen=True, slots=True)
class RawHead:
    """The anchors of a raw ONNX file, from its metadata (`extd.models.export`).

    Attributes:
        strides: of the levels in px, finest first.
        sizes: sides of their anchors in px.
        center_scale: anchor sides by which an offset of 1 moves a box or landmark.
        size_scale: how much a size offset of 1 adds to the logarithm of a box's sides.
    """

    strides: tuple[int, ...]
    sizes: tuple[float, ...]
    center_scale: float
    size_scale: float


def read_head(metadata: Mapping[str, str]) -> RawHead:
    """The head that the metadata of an ONNX file describes.

    Raises:
        ValueError: the metadata lacks it.
    """
    try:
        anchors = json.loads(metadata["anchors"])
        return RawHead(
            tuple(map(int, anchors["strides"])),
            tuple(map(float, anchors["sizes"])),
            float(anchors["center_scale"]),
            float(anchors["size_scale"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"its metadata does not describe the anchors of a raw output: {error}"
        ) from None


def to_patches(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [N, H, W, 3] as patches of 4 x 4 px, [N, ceil(H / 4), ceil(W / 4), 48]."""
    count, height, width, _ = images.shape
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    whole = images
    if (rows * PATCH, columns * PATCH) != (height, width):
        whole = np.full((count, rows * PATCH, columns * PATCH, 3), GRAY, np.uint8)
        whole[:, :height, :width] = images
    # Moving rows of a patch, 12 bytes, as single values is several times as fast as bytes.
    flat = np.ascontiguousarray(whole).reshape(-1, 3 * PATCH).view(f"V{3 * PATCH}")
    lines = flat.reshape(count, rows, PATCH, columns).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(lines).view(np.uint8).reshape(count, rows, columns, -1)


def decode(
    raw: NDArray[np.float32], head: RawHead, height: int, width: int, threshold: float
) -> Detections:
    """The boxes with scores above a threshold, in pixels of an image of `height` x `width` px.

    `raw` is float32 [15, A]: box offsets, log odds of a face, offsets of five landmarks.
    """
    with np.errstate(divide="ignore"):
        least = np.log(threshold) - math.log1p(-threshold)
    likely = np.flatnonzero(raw[SCORE] > least)
    chosen = raw[:, likely]
    columns = [-(-width // stride) for stride in head.strides]
    rows = [-(-height // stride) for stride in head.strides]
    begins = np.cumsum([0, *np.multiply(rows, columns)])
    level = np.searchsorted(begins, likely, "right") - 1
    row, column = np.divmod(likely - begins[level], np.array(columns)[level])
    stride, side = np.array(head.strides)[level], np.array(head.sizes, np.float32)[level]
    center = (np.stack([column, row], 1) + 0.5) * stride[:, None]
    offset, growth = chosen[BOX].T[:, :2], chosen[BOX].T[:, 2:]
    middle = center + offset * (head.center_scale * side)[:, None]
    with np.errstate(over="ignore"):
        half = side[:, None] * np.exp(growth * head.size_scale) / 2
    # -1 would be ambiguous without faces.
    points = chosen[LANDMARKS].T.reshape(len(likely), (len(raw) - LANDMARKS.start) // 2, 2)
    points = center[:, None] + points * (head.center_scale * side)[:, None, None]
    return Detections(
        np.concatenate([middle - half, middle + half], 1).astype(np.float32),
        (1 / (1 + np.exp(-chosen[SCORE]))).astype(np.float32),
        points.astype(np.float32),
    )
