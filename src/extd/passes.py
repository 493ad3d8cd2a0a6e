"""Passes of the network over an image: turned, mirrored, in tiles. And how to merge their faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, area, intersection, iou, longer_side, nms, vote
from extd.faces import Faces
from extd.images import Image, resize

MIRRORED = (1, 0, 2, 4, 3)
"""Which landmark of the mirrored image each one is: eyes and mouth corners change sides."""
STRIDE = 128
"""The coarsest stride of the detectors in px; tiles begin at multiples of it."""
SIDE = 1024
"""Side of automatic tiles, px: 0.6 GB of memory in the largest model that ships."""
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
    """One look at an image.

    Attributes:
        factor: by which the image is enlarged.
        quarters: quarter turns clockwise.
        mirrored: left to right, after the turns.
    """

    factor: float = 1.0
    quarters: int = 0
    mirrored: bool = False

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
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        room = overlap * CONTEXT
        outside = (centers < edges[:2] + room) | (centers > edges[2:] - room)
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
    image: Image,
    overview: Image,
    side: int,
    overlap: float,
    nms_iou: float,
    look: Callable[[Image], Faces],
) -> Faces:
    """The faces in the tiles of an image and in its overview, to be suppressed together.

    Args:
        image: uint8 [H, W, 3].
        overview: the same, shrunk to one tile.
        side: of a tile in px, a multiple of `STRIDE` and at least twice it.
        overlap: of neighboring tiles as a share of the side, above 0, up to 0.5.
        nms_iou: two boxes with a greater IoU are one face.
        look: detects in one image.
    """
    height, width = image.shape[:2]
    step = math.floor(side * (1 - overlap) / STRIDE) * STRIDE
    found = []
    for tile in place_tiles(width, height, side, step):
        seen = look(image[tile.y1 : tile.y2, tile.x1 : tile.x2])
        found.append((tile, tile.undo(seen, width, height)))
    return merge(found, rescale(look(overview), width, height), side - step, nms_iou)


def shrink(image: Image, side: int) -> Image:
    """The image resized to a longer side of `side` px."""
    height, width = image.shape[:2]
    return resize(image, Pass(side / max(width, height)).size(width, height))


def merge(
    tiles: Sequence[tuple[Tile, Faces]], overview: Faces, overlap: int, nms_iou: float
) -> Faces:
    """Merge the faces of all tiles and of the overview, all in px of the image.

    Faces up to 3/4 of the overlap are whole in at least one tile. Larger ones may be cut by every
    tile; the overview has them whole. So these count, in this order: uncut boxes of tiles; large
    boxes of the overview that match none of these; cut boxes that none of the others covers.
    """
    whole, parts = [], []
    for tile, found in tiles:
        counts, cut = tile.owns(found.boxes, overlap), tile.cuts(found.boxes)
        whole.append(found[counts & ~cut])
        parts.append(found[counts & cut])
    sure, cut_off = pool(whole), pool(parts)
    large = overview[longer_side(overview.boxes) > overlap / 2]
    large = large[nms(large.boxes, large.scores, nms_iou)]
    # One by one: all pairs of a crowd would not fit into memory.
    new = [(iou(box[None], sure.boxes) <= nms_iou).all() for box in large.boxes]
    sure = pool([sure, large[np.array(new, np.bool_)]])
    cut_off = cut_off[nms(cut_off.boxes, cut_off.scores, nms_iou)]
    bare = [
        (intersection(box[None], sure.boxes) <= COVERED * area(box[None])).all()
        for box in cut_off.boxes
    ]
    return pool([sure, cut_off[np.array(bare, np.bool_)]])
