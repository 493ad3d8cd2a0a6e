"""A large image in tiles that overlap: where they lie, and which of their boxes count."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, area, intersection, iou, longer_side, nms
from extd.detections import Detections, pool, rescale, select, shift
from extd.images import Image, resize

STRIDE = 128
"""The coarsest stride of the detectors in px; tiles begin at multiples of it."""
SIDE = 1024
"""Side of automatic tiles, px: 0.6 GB of memory in the largest model that ships."""
LARGE = 1 << 24
"""Pixels above which images are tiled: without tiles they need about 9 GB."""

CONTEXT = 3 / 8
"""Least distance of a counting box's center from a tile's inner edges, as a share of the overlap.

At 1/2 each center would count in just one tile; it is less, as tiles may differ a little.
"""
SLACK = 0.1
"""Boxes closer to an inner edge than this share of their longer side count as cut."""
COVERED = 0.5
"""A whole box that covers this share of a cut one's area replaces it."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of an image.

    Attributes:
        x1, y1, x2, y2: in px of the image; x2 and y2 are exclusive.
        edges: the same, but infinite at the image's own borders.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    edges: tuple[float, float, float, float]


def look_in_tiles(
    image: Image,
    overview: Image,
    side: int,
    overlap: float,
    nms_iou: float,
    look: Callable[[Image], Detections],
) -> Detections:
    """Detect in the tiles of an image.

    Args:
        image: uint8 [H, W, 3].
        overview: the same, shrunk to one tile.
        side: of a tile in px, a multiple of `STRIDE` and at least twice it.
        overlap: of neighboring tiles as a share of the side, above 0, up to 0.5.
        nms_iou: two boxes with a greater IoU are one face.
        look: detects in one image.

    Returns:
        Detections in px of `image`, before non-maximum suppression.
    """
    height, width = image.shape[:2]
    step = math.floor(side * (1 - overlap) / STRIDE) * STRIDE
    found = []
    for tile in place_tiles(width, height, side, step):
        seen = look(image[tile.y1 : tile.y2, tile.x1 : tile.x2])
        found.append((tile, shift(seen, tile.x1, tile.y1)))
    large = rescale(look(overview), width / overview.shape[1], height / overview.shape[0])
    return merge(found, large, side - step, nms_iou)


def shrink(image: Image, side: int) -> Image:
    """The image resized to a longer side of `side` px."""
    factor = side / max(image.shape[:2])
    height, width = (max(round(length * factor), 1) for length in image.shape[:2])
    return resize(image, (width, height))


def place_tiles(width: int, height: int, side: int, step: int) -> list[Tile]:
    """Tiles of `side` px, row by row, one every `step` px; the last ones may be smaller."""
    columns, rows = (_intervals(length, side, step) for length in (width, height))
    return [
        Tile(x1, y1, x2, y2, (left, top, right, bottom))
        for y1, y2, top, bottom in rows
        for x1, x2, left, right in columns
    ]


def _intervals(length: int, side: int, step: int) -> list[tuple[int, int, float, float]]:
    """Start, end and edges of the tiles along one axis."""
    tiles = []
    for begin in range(0, max(length - side, 0) + step, step):
        last = begin + side >= length
        end = length if last else begin + side
        tiles.append((begin, end, begin or -math.inf, math.inf if last else end))
    return tiles


def belong(boxes: Boxes, tile: Tile, overlap: int) -> NDArray[np.bool_]:
    """Which boxes [N, 4] of a tile count: those with a center away from inner edges."""
    edges = np.array(tile.edges)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    room = overlap * CONTEXT
    outside = (centers < edges[:2] + room) | (centers > edges[2:] - room)
    return np.asarray(~outside.any(axis=1), np.bool_)


def are_cut(boxes: Boxes, tile: Tile) -> NDArray[np.bool_]:
    """Which boxes [N, 4] are so close to an inner edge that the face may continue beyond it."""
    edges = np.array(tile.edges)
    slack = SLACK * longer_side(boxes)[:, None]
    beyond = (boxes[:, :2] < edges[:2] + slack) | (boxes[:, 2:] > edges[2:] - slack)
    return np.asarray(beyond.any(axis=1), np.bool_)


def merge(
    tiles: Sequence[tuple[Tile, Detections]], overview: Detections, overlap: int, nms_iou: float
) -> Detections:
    """Merge the boxes of all tiles and of the overview, all in px of the image.

    Faces up to 3/4 of the overlap are whole in at least one tile. Larger ones may be cut by every
    tile; the overview has them whole. So these count, in this order: uncut boxes of tiles; large
    boxes of the overview that match none of these; cut boxes that none of the others covers.
    """
    whole, parts = [], []
    for tile, found in tiles:
        counts, cut = belong(found.boxes, tile, overlap), are_cut(found.boxes, tile)
        whole.append(select(found, counts & ~cut))
        parts.append(select(found, counts & cut))
    sure, cut_off = pool(whole), pool(parts)
    large = select(overview, longer_side(overview.boxes) > overlap / 2)
    large = select(large, nms(large.boxes, large.scores, nms_iou))
    # One by one: all pairs of a crowd would not fit into memory.
    new = [not (iou(box[None], sure.boxes) > nms_iou).any() for box in large.boxes]
    sure = pool([sure, select(large, np.array(new, np.bool_))])
    cut_off = select(cut_off, nms(cut_off.boxes, cut_off.scores, nms_iou))
    alone = [
        not (intersection(box[None], sure.boxes) > COVERED * area(box[None])).any()
        for box in cut_off.boxes
    ]
    return pool([sure, select(cut_off, np.array(alone, np.bool_))])
