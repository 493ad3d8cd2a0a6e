"""Adaptive training sample selection (ATSS, arXiv 1912.02424, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from extd.models.anchors import corners
from extd.training.matching import award, iou, lowest

CANDIDATES = 9
"""Nearest anchors of each level that a face may take (the paper's k)."""


def atss(anchors: Tensor, faces: Tensor, real: Tensor) -> Tensor:
    """Assign faces to anchors.

    A face takes those of its candidates that have an IoU of at least the candidates' mean plus
    standard deviation, and their centre inside of it. An anchor that several faces take goes to
    the one with the highest IoU.

    Args:
        anchors: A x 4 (cx, cy, w, h) px; anchors of equal width are one level, in a row.
        faces: B x N x 4, xyxy px.
        real: B x N bool, which are no padding.

    Returns:
        B x A int64, index of the face or -1.
    """
    index = candidates(anchors, faces)
    nearest = anchors[index]
    overlap = iou(corners(nearest), faces[:, :, None])
    deviation, mean = torch.std_mean(overlap, -1, correction=0, keepdim=True)
    wanted = real[..., None] & (overlap >= mean + deviation) & inside(nearest, faces[:, :, None])
    return award(index, overlap, wanted, len(anchors))


def candidates(anchors: Tensor, faces: Tensor) -> Tensor:
    """Anchors near the centre of each face, the same number of each level: B x N x K."""
    centre = (faces[..., :2] + faces[..., 2:]) / 2
    x, y = centre[..., None].unbind(-2)
    # A device has to wait here, to know how many anchors a level has.
    _, sizes = torch.unique_consecutive(anchors[:, 2], return_counts=True)
    found, start = [], 0
    for size in sizes.tolist():
        level = anchors[start : start + size]
        distance = (level[:, 0] - x).square() + (level[:, 1] - y).square()
        found.append(lowest(distance, min(CANDIDATES, size))[1] + start)
        start += size
    return torch.cat(found, -1)


def inside(anchors: Tensor, faces: Tensor) -> Tensor:
    """Whether the centres of anchors (cx, cy, w, h) lie inside faces (xyxy): shapes broadcast."""
    x, y = anchors[..., 0], anchors[..., 1]
    x1, y1, x2, y2 = faces.unbind(-1)
    return (x > x1) & (x < x2) & (y > y1) & (y < y2)
