"""Losses of the predicted boxes, one value an anchor."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from extd.models.anchors import decode, encode
from extd.models.config import VARIANCES
from extd.training.matching import area, intersection, iou

FARTHEST = 100.0
LARGEST = 7.0
"""A decoded box lies at most this many anchor sides away; the log of its size relative to the
anchor is at most this."""


def box_loss(
    regression: Tensor,
    faces: Tensor,
    anchors: Tensor,
    kind: Literal["smooth_l1", "giou", "diou", "eiou"],
) -> Tensor:
    """How far predictions are from their faces.

    Args:
        regression: ... x A x 4, coded offsets.
        faces: ... x A x 4, the face of each anchor, xyxy px, of some area.
        anchors: A x 4 (cx, cy, w, h) px.
        kind: `smooth_l1` compares the coded offsets, the others the boxes.

    Returns:
        ... x A.
    """
    if kind == "smooth_l1":
        difference = regression - encode(faces, anchors)
        return F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none").sum(-1)
    boxes = safe_decode(regression, anchors)
    if kind == "giou":
        return giou_loss(boxes, faces)
    return diou_loss(boxes, faces) if kind == "diou" else eiou_loss(boxes, faces)


def landmark_loss(points: Tensor, known: Tensor, faces: Tensor) -> Tensor:
    """Mean distance of five points along x and y, in sides of the face: P; 0 where not known.

    Args:
        points: P x 10, x and y, px.
        known: P x 10, NaN where they are not known.
        faces: P x 4, xyxy px, of some area.
    """
    there = ~known.isnan()
    # NaN would spoil the gradient even where it does not count.
    apart = (points - torch.where(there, known, points.detach())).abs().mean(-1)
    return apart / area(faces).clamp(min=1).sqrt()


def safe_decode(regression: Tensor, anchors: Tensor) -> Tensor:
    """`decode` for any numbers: no box is so far away or so large that its loss overflows."""
    limits = (FARTHEST / VARIANCES[0], LARGEST / VARIANCES[1])
    parts = [
        part.clamp(-limit, limit)
        for part, limit in zip(regression.chunk(2, -1), limits, strict=True)
    ]
    return decode(torch.cat(parts, -1), anchors)


def giou_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - IoU + share of the enclosing box that neither covers (arXiv 1902.09630): 0 to 2."""
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    width, height = enclosing(a, b)
    return 1 - shared / union + 1 - union / (width * height)


def diou_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - IoU + squared distance of the centres / diagonal of the enclosing box, squared.

    From arXiv 1911.08287, equation 7.
    """
    width, height = enclosing(a, b)
    x, y = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).unbind(-1)
    return 1 - iou(a, b) + (x**2 + y**2) / 4 / (width**2 + height**2)


def eiou_loss(a: Tensor, b: Tensor) -> Tensor:
    """DIoU's loss + squared differences of width and height / those of the enclosing box, squared.

    From arXiv 2101.08158, equation 7.
    """
    width, height = enclosing(a, b)
    wider, higher = (a[..., 2:] - a[..., :2] - b[..., 2:] + b[..., :2]).unbind(-1)
    return diou_loss(a, b) + (wider / width) ** 2 + (higher / height) ** 2


def enclosing(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height of the smallest box around boxes `a` and `b` (... x 4, xyxy)."""
    size = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    width, height = size.unbind(-1)
    return width, height
