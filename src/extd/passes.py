"""Passes of the network over an image: at several sizes, turned, mirrored, in tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, area, centers, intersection, longer_side, nms, vote
from extd.faces import Faces
from extd.pixels import Image

MIRRORED = (1, 0, 2, 4, 3)
"""Which landmark of the mirrored image each one is: eyes and mouth corners change sides."""
STRIDE = 128
"""The coarsest stride of the detectors in px; tiles begin at multiples of it."""
SIDE = 1024
"""Side of automatic tiles, px: 0.6 GB of memory in the largest model that ships."""
COARSEST = 640
"""Longer side of an image, px, that no pyramid halves."""
SEEN_WELL = (48, 256)
"""Longer sides, px, of the faces that a level between two others answers for."""
TINY = 20
"""Longer side of a face, px, below which a finer level finds more."""
LARGE = 1 << 24
"""Pixels above which images are tiled: without tiles they need about 9 GB."""

CONTEXT = 3 / 8
"""How far the center of a box that counts must be from a tile's inner edges, in overlaps.

At 1/2 each center would count in just one tile; but tiles may differ a little.
"""
SLACK = 0.1
"""Boxes closer to an inner edge than this share of their longer side count as cut."""
COVERED = 0.5
"""A whole box that covers this share of a cut one's area replaces it."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One look at an image."""

    factor: float = 1.0  # by which the image is enlarged
    quarters: int = 0  # quarter turns clockwise
    mirrored: bool = False  # left to right, after the turns
    sizes: tuple[float, float] = (0, math.inf)  # longer sides of its faces, in px of its view

    def answers_for(self, boxes: Boxes) -> NDArray[np.bool_]:
        """Which boxes [N, 4], in px of what it looks at, are of its sizes."""
        size = longer_side(boxes)
        return np.asarray((size >= self.sizes[0]) & (size <= self.sizes[1]), np.bool_)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The width and height that it looks at, of an upright image of that size."""
        if self.quarters % 2:
            width, height = height, width
        # A side must keep at least one pixel.
        return max(round(width * self.factor), 1), max(round(height * self.factor), 1)

    def orient(self, image: Image) -> Image:
        """A view of the image, turned and mirrored."""
        turned = np.rot90(image, -self.quarters)
        return turned[:, ::-1] if self.mirrored else turned

    def undo(self, faces: Faces, width: int, height: int) -> Faces:
        """Faces that this pass found, in an upright image of `width` x `height` px."""
        across, down = (height, width) if self.quarters % 2 else (width, height)
        faces = rescale(faces, across, down)
        points: NDArray[Any] | None = faces.landmarks
        if points is not None:
            # The mirrored image's left eye is the right one.
            points = points[:, MIRRORED].astype(np.float64) if self.mirrored else points
            points = self._undo_points(points, across, down)
        corners = self._undo_points(faces.boxes.reshape(-1, 2, 2), across, down)
        # Turning and mirroring swap corners.
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return Faces(boxes, faces.scores, width, height, points)

    def _undo_points(self, points: NDArray[Any], width: int, height: int) -> NDArray[Any]:
        """Points [N, K, 2] of a turned image of `width` x `height` px in the upright one."""
        x, y = points[..., 0], points[..., 1]
        if self.mirrored:
            x = width - x
        for _ in range(-self.quarters % 4):
            x, y = height - y, x
            width, height = height, width
        return np.stack([x, y], axis=-1)


def pyramid(longest: float, smallest: float = 0) -> list[Pass]:
    """Passes over an image at halved sizes, each for the faces that it sees well.

    `longest` is the longer side of the image and `smallest` that of the smallest face that matters,
    px; finer passes are left out.
    """
    factors = [1.0]
    while longest * factors[-1] > COARSEST:
        factors.append(factors[-1] / 2)
    while len(factors) > 1 and smallest * factors[1] >= TINY:
        del factors[0]
    low, high = SEEN_WELL
    return [
        Pass(
            factor,
            sizes=(low if factor < factors[0] else 0, high if factor > factors[-1] else math.inf),
        )
        for factor in factors
    ]


def rescale(faces: Faces, width: int, height: int) -> Faces:
    """The same faces where their image is resized to `width` x `height` px."""
    factors = np.array([width / faces.width, height / faces.height], np.float32)
    points = None if faces.landmarks is None else faces.landmarks * factors
    return Faces(faces.boxes * np.tile(factors, 2), faces.scores, width, height, points)


def pool(several: Sequence[Faces]) -> Faces:
    """The faces of one or more passes over one image, in order."""
    boxes = np.concatenate([faces.boxes for faces in several])
    scores = np.concatenate([faces.scores for faces in several])
    points = [faces.landmarks for faces in several if faces.landmarks is not None]
    landmarks = np.concatenate(points) if points else None
    return Faces(boxes, scores, several[0].width, several[0].height, landmarks)


def suppress(faces: Faces, threshold: float, nms_iou: float, *, box_voting: bool) -> Faces:
    """Non-maximum suppression, best first: of two boxes with a greater IoU only the better stays.

    With `box_voting` (`extd.boxes.vote`), suppressed boxes and those below the threshold help to
    place the boxes that stay; landmarks are not moved.
    """
    kept = nms(faces.boxes, faces.scores, nms_iou)
    kept = kept[faces.scores[kept] > threshold]
    best = faces[kept]
    if not box_voting:
        return best
    boxes = vote(faces.boxes, faces.scores, kept, nms_iou)
    return Faces(boxes, best.scores, best.width, best.height, best.landmarks)


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of an image from x1, y1 to x2, y2 px; its edges are infinite at image borders."""

    x1: int
    y1: int
    x2: int
    y2: int
    edges: tuple[float, float, float, float]

    def undo(self, faces: Faces, width: int, height: int) -> Faces:
        """Faces in this tile, in the image of `width` x `height` px."""
        corner = np.array([self.x1, self.y1], np.float32)
        points = None if faces.landmarks is None else faces.landmarks + corner
        return Faces(faces.boxes + np.tile(corner, 2), faces.scores, width, height, points)

    def owns(self, boxes: Boxes, overlap: int) -> NDArray[np.bool_]:
        """Which boxes [N, 4] count in this tile: those with a center away from inner edges."""
        edges = np.array(self.edges)
        middle, room = centers(boxes), overlap * CONTEXT
        outside = (middle < edges[:2] + room) | (middle > edges[2:] - room)
        return np.asarray(~outside.any(axis=1), np.bool_)

    def cuts(self, boxes: Boxes) -> NDArray[np.bool_]:
        """Which boxes [N, 4] are so close to an inner edge that the face may go on beyond it."""
        edges = np.array(self.edges)
        slack = SLACK * longer_side(boxes)[:, None]
        beyond = (boxes[:, :2] < edges[:2] + slack) | (boxes[:, 2:] > edges[2:] - slack)
        return np.asarray(beyond.any(axis=1), np.bool_)


def place_tiles(width: int, height: int, side: int, step: int) -> list[Tile]:
    """Tiles of `side` px, row by row, one every `step` px; the last ones may be smaller."""
    columns = [(x, min(x + side, width)) for x in range(0, max(width - side, 0) + step, step)]
    rows = [(y, min(y + side, height)) for y in range(0, max(height - side, 0) + step, step)]
    tiles = []
    for (y1, y2), (x1, x2) in product(rows, columns):
        right, bottom = x2 if x2 < width else math.inf, y2 if y2 < height else math.inf
        tiles.append(Tile(x1, y1, x2, y2, (x1 or -math.inf, y1 or -math.inf, right, bottom)))
    return tiles


def look_in_tiles(
    image: Image, side: int, overlap: float, look: Callable[[Image], Faces]
) -> tuple[Faces, Faces]:
    """The faces in the tiles of an image: whole ones, and those that a tile cuts.

    The `side` of a tile is a multiple of `STRIDE` px, at least twice it. Neighbors overlap by a
    share of it, above 0, up to 0.5; faces up to 3/4 of the overlap are whole in at least one tile.
    """
    height, width = image.shape[:2]
    step = math.floor(side * (1 - overlap) / STRIDE) * STRIDE
    whole, parts = [], []
    for tile in place_tiles(width, height, side, step):
        found = tile.undo(look(image[tile.y1 : tile.y2, tile.x1 : tile.x2]), width, height)
        owned, cut = tile.owns(found.boxes, side - step), tile.cuts(found.boxes)
        whole.append(found[owned & ~cut])
        parts.append(found[owned & cut])
    return pool(whole), pool(parts)


def add_uncovered(faces: Faces, parts: Faces) -> Faces:
    """Faces, best first, and those that tiles cut, where no other face covers them."""
    # One by one: all pairs of a crowd would not fit into memory.
    bare = [
        (intersection(box[None], faces.boxes) <= COVERED * area(box[None])).all()
        for box in parts.boxes
    ]
    both = pool([faces, parts[np.array(bare, np.bool_)]])
    return both[np.argsort(-both.scores, kind="stable")]
