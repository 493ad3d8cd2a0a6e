"""S3FD's anchor matching with scale compensation (section 3.4 of the paper), a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from extd.models.anchors import Level, corners
from extd.training.recipe import Loss

CROWD = 3.0
"""No box has more than this / t² anchors of an IoU of at least t: they stand a quarter of their
side apart, or more."""
HIDDEN_IOU = 0.05
HIDDEN_SHARE = 0.5
"""An anchor is ignored above this IoU with an ignored region, or if more than this share of it
lies inside."""

NEARLY = 1e-6
"""Relative rounding of shared areas."""


class Targets(NamedTuple):
    """What each of A anchors should say about each of B pictures.

    Attributes:
        face: B x A int64, index of the matched face in its picture's row, or -1.
        ignored: B x A bool, no face and no background either; the other anchors without a face
            are background.
    """

    face: Tensor
    ignored: Tensor


def area(boxes: Tensor) -> Tensor:
    """Areas (...) of `boxes` (... x 4, xyxy)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Area shared by boxes (... x 4, xyxy) of shapes that broadcast."""
    ax1, ay1, ax2, ay2 = a.unbind(-1)
    bx1, by1, bx2, by2 = b.unbind(-1)
    # In place, for fresh memory costs a CPU more than the arithmetic.
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).clamp_(min=0)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).clamp_(min=0)
    return width.mul_(height)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (... x 4, xyxy) of shapes that broadcast."""
    shared = intersection(a, b)
    return shared.div_((area(a) + area(b)).sub_(shared))


def pairwise(boxes: Tensor, real: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """`boxes` and `anchors` such that functions of the two broadcast to B x N x A.

    Args:
        boxes: B x N x 4, xyxy.
        real: B x N bool; the other boxes become points, which overlap nothing.
        anchors: A x 4 or B x A x 4, xyxy.
    """
    boxes = torch.where(real[..., None], boxes, 0)
    # Coordinate by coordinate in memory: operations along A then read neighbours.
    anchors = anchors.transpose(-1, -2).contiguous().transpose(-1, -2)
    return boxes[:, :, None], anchors[..., None, :, :]


def highest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest of `values` (... x A, not negative), falling, and their indices.

    Of equal ones the first comes first, on every device: small faces have the same IoU with every
    anchor that contains them.
    """
    return _ranked(values, count, falling=True)


def lowest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The same for the lowest, rising."""
    return _ranked(values, count, falling=False)


def _ranked(values: Tensor, count: int, *, falling: bool) -> tuple[Tensor, Tensor]:
    # In float64, steps far below the distance of two float32 numbers put equal ones in order.
    step = 2.0**-45 * (-1 if falling else 1)
    order = 1 + step * torch.arange(values.shape[-1], dtype=torch.float64, device=values.device)
    index = (values * order).topk(count, largest=falling).indices
    return values.gather(-1, index), index


def award(index: Tensor, bids: Tensor, wanted: Tensor, count: int) -> Tensor:
    """Which face gets each anchor: the one with the highest bid, and of equal ones the first.

    Args:
        index: B x N x K anchors for each of N faces.
        bids: B x N x K float.
        wanted: B x N x K bool; the others do not bid.
        count: A.

    Returns:
        B x A int64, -1 where no face wants the anchor.
    """
    pictures, faces, _ = index.shape
    anchors = index.flatten(1)
    offers = bids.masked_fill(~wanted, -torch.inf).flatten(1)
    top = offers.new_full((pictures, count), -torch.inf)
    top.scatter_reduce_(1, anchors, offers, "amax")
    won = wanted.flatten(1) & (offers == top.gather(1, anchors))
    bidder = torch.arange(faces, device=index.device)[:, None].expand_as(index).flatten(1)
    face = anchors.new_full((pictures, count), faces)
    face.scatter_reduce_(1, anchors, bidder.masked_fill(~won, faces), "amin")
    return face.masked_fill(face == faces, -1)


def hidden(levels: Sequence[Level], ignore: Tensor, ignore_real: Tensor) -> Tensor:
    """Anchors that lie in an ignored region of their picture: B x A bool.

    Args:
        levels: of the A anchors.
        ignore: B x M x 4 regions, xyxy px.
        ignore_real: B x M bool, which are no padding.
    """
    size = (ignore[..., 2:] - ignore[..., :2]).clamp(min=0).prod(-1)
    found, best = [], torch.zeros_like(size)
    for index, level in enumerate(levels):
        # The area that an anchor and a region share is a product: one factor a row, one a column.
        across = _shared(ignore[..., 0], ignore[..., 2], level.columns, level)
        down = _shared(ignore[..., 1], ignore[..., 3], level.rows, level)
        if index == 0:
            best = across.amax(-1) * down.amax(-1)
        area = level.side**2
        enough = (HIDDEN_IOU / (1 + HIDDEN_IOU) * (size + area)).clamp(max=HIDDEN_SHARE * area)
        # Anchors are 8 px and more: one on a tiny face has a small IoU, so a region's best anchor
        # of the finest level always counts.
        enough = torch.minimum(enough, best).masked_fill(~(ignore_real & (best > 0)), torch.inf)
        shared = (down / enough[..., None])[..., None] * across[..., None, :]
        found.append((shared.amax(1) >= 1 - NEARLY).flatten(1))
    return torch.cat(found, 1)


def _shared(low: Tensor, high: Tensor, cells: int, level: Level) -> Tensor:
    """The length that anchors of one row or column share with [low, high] (B x M): ... x cells."""
    center = (torch.arange(cells, device=low.device) + 0.5) * level.stride
    half = level.side / 2
    begin = torch.maximum(center - half, low[..., None])
    return (torch.minimum(center + half, high[..., None]) - begin).clamp(min=0)


def match(anchors: Tensor, faces: Tensor, real: Tensor, settings: Loss) -> Tensor:
    """Assign faces to anchors as S3FD does.

    An anchor takes its best face at `match_iou`, and each face keeps its best anchor; of several
    faces with the same one the last. Then faces with fewer anchors than the mean take their next
    best ones above `compensate_iou`, up to that mean, or the pooled rule of the authors' code
    holds. A face without area gets nothing.

    Args:
        anchors: A x 4 (cx, cy, w, h) px.
        faces: B x N x 4, xyxy px; N is at least 1.
        real: B x N bool, which are no padding.
        settings: thresholds and rule.

    Returns:
        B x A int64, index of the face or -1.
    """
    overlap = iou(*pairwise(faces, real, corners(anchors)))
    best, best_face = overlap.max(1)
    face = best_face.masked_fill(best < settings.match_iou, -1)
    reached, first = overlap.max(2)
    number = torch.arange(faces.shape[1], device=faces.device).expand_as(first)
    number = number.masked_fill(reached <= 0, -1)
    kept = torch.full_like(face, -1).scatter_reduce_(1, first, number, "amax")
    face = torch.where(kept >= 0, kept, face)
    if settings.compensation == "face":
        return _compensate(face, overlap, real, settings)
    best = best.masked_fill(face >= 0, 0)
    gained = _pooled(best, reached, settings)
    return torch.where(gained, best_face, face)


def _compensate(face: Tensor, overlap: Tensor, real: Tensor, settings: Loss) -> Tensor:
    """`face` after poor faces got more anchors (S3FD, section 3.3); overwrites `overlap`."""
    anchors = overlap.shape[2]
    counts = torch.zeros(len(face), 1 + overlap.shape[1], dtype=torch.int64, device=face.device)
    counts = counts.scatter_add_(1, face + 1, torch.ones_like(face))[:, 1:]
    mean = counts.sum(1, keepdim=True) // real.sum(1, keepdim=True).clamp(min=1)
    free = overlap.masked_fill_((face >= 0)[:, None], 0)
    # No mean is higher than this, so that a device need not be asked for it.
    most = min(math.ceil(CROWD / settings.match_iou**2), anchors)
    value, index = highest(free, most)
    rank = torch.arange(most, device=face.device)
    wanted = (value > settings.compensate_iou) & (rank < (mean - counts)[..., None])
    # An anchor that two poor faces want goes to the one that it overlaps more.
    return torch.maximum(face, award(index, value, wanted, anchors))


def _pooled(best: Tensor, reached: Tensor, settings: Loss) -> Tensor:
    """Which free anchors become positive by the rule of the authors' released code: B x A bool.

    The best ones of all faces of a picture, as many as the mean of the faces whose best anchor
    reaches `match_iou` and IoU 0.5.

    Args:
        best: B x A, highest IoU of each anchor with a face, 0 where it is taken.
        reached: B x N, highest IoU of each face with an anchor.
        settings: thresholds.
    """
    allowed = (best > settings.compensate_iou) & (best < settings.match_iou)
    count = ((reached >= settings.match_iou).sum(1) + (reached >= 0.5).sum(1)) // 2
    return leading(best, allowed, count)


def leading(values: Tensor, allowed: Tensor, count: Tensor) -> Tensor:
    """The `count` (B) highest allowed ones of `values` (B x A), of equal ones the first: B x A."""
    order = values.masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True, stable=True)
    early = torch.arange(values.shape[1], device=values.device) < count[:, None]
    return allowed & torch.zeros_like(allowed).scatter_(1, order, early)
