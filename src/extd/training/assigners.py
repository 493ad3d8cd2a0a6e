"""Which anchors are positive: S3FD's matching (section 3.4 of the paper), or SimOTA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from extd.models.anchors import Level, corners, decode
from extd.models.config import VARIANCES
from extd.models.extd import Predictions
from extd.training.recipe import Loss

CROWD = 3.0
"""At most this / t² anchors have an IoU of t or more with a box: they are a quarter side apart."""
IGNORED_IOU = 0.05
IGNORED_SHARE = 0.5
"""An anchor is ignored above this IoU with an ignored region, or where they share at least this
much of the smaller of the two: of a region smaller than the anchors, only finest ones, the best."""
ROUNDING = 1e-6
"""Relative, of shared areas."""
FARTHEST = 100.0
LARGEST = 7.0
"""`safe_decode`: limits of a box's distance in anchor sides and of the log of its relative size."""
BOX_COST = 3.0
OUTSIDE_COST = 1e3
"""SimOTA: cost of an anchor outside of the face, more than any other."""
MAX_ANCHORS = 10
"""SimOTA: a face takes as many anchors as this many of its highest IoUs add up to."""
TINY = 1e-8


class Labels(NamedTuple):
    """The boxes of B images or crops, padded to the same number; not clipped."""

    faces: Tensor  # B x N x 4 float32, xyxy px; N is at least 1
    real: Tensor  # B x N bool, which faces are not padding
    ignore: Tensor  # B x M x 4 float32, xyxy px: regions that are neither face nor background
    ignore_real: Tensor  # B x M bool, which regions are not padding
    landmarks: Tensor  # B x N x 10 float32, x and y of five points, px; NaN where unknown


class Targets(NamedTuple):
    """What each of A anchors should say about each of B images: face, nothing, or background."""

    face: Tensor  # B x A int64, index of the matched face in its image's row, or -1
    ignored: Tensor  # B x A bool, neither face nor background


def area(boxes: Tensor) -> Tensor:
    """Areas (...) of `boxes` (... x 4, xyxy)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (... x 4, xyxy) of shapes that broadcast."""
    ax1, ay1, ax2, ay2 = a.unbind(-1)
    bx1, by1, bx2, by2 = b.unbind(-1)
    # In place, for fresh memory costs a CPU more than the arithmetic.
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).clamp_(min=0)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).clamp_(min=0)
    shared = width.mul_(height)
    return shared.div_((area(a) + area(b)).sub_(shared))


def safe_decode(regression: Tensor, anchors: Tensor) -> Tensor:
    """`decode` for any numbers: no box is so far away or so large that its loss overflows."""
    offset, size = regression.chunk(2, -1)
    offset = offset.clamp(-FARTHEST / VARIANCES[0], FARTHEST / VARIANCES[0])
    size = size.clamp(-LARGEST / VARIANCES[1], LARGEST / VARIANCES[1])
    return decode(torch.cat([offset, size], -1), anchors)


def assign(levels: Sequence[Level], anchors: Tensor, labels: Labels, settings: Loss) -> Targets:
    """Assign faces to the anchors (A x 4, cxcywh px) of B images, each as if it were alone.

    An anchor in an ignored region may still be positive. SimOTA needs predictions, so its targets
    have no faces until `simota` adds them during the loss.
    """
    faces, real, ignore, ignore_real, _ = labels
    if settings.assigner == "s3fd":
        face = match(anchors, faces, real, settings)
    else:
        face = real.new_full((len(faces), len(anchors)), -1, dtype=torch.int64)
    return Targets(face, ignored_anchors(levels, ignore, ignore_real) & (face < 0))


def ignored_anchors(levels: Sequence[Level], ignore: Tensor, ignore_real: Tensor) -> Tensor:
    """Which of the A anchors lie in an ignored region of their image, see `Labels`: B x A bool."""
    size = (ignore[..., 2:] - ignore[..., :2]).clamp(min=0).prod(-1)
    found = []
    for index, level in enumerate(levels):
        # The area that an anchor and a region share is a product: one factor a row, one a column.
        across = _overlaps(ignore[..., 0], ignore[..., 2], level.columns, level)
        down = _overlaps(ignore[..., 1], ignore[..., 3], level.rows, level)
        whole = level.side**2
        enough = IGNORED_IOU / (1 + IGNORED_IOU) * (size + whole)
        enough = enough.clamp(max=IGNORED_SHARE * whole)
        if index == 0:
            # A tiny region has a small IoU with every anchor, so the finest anchors that hold most
            # of it count as well. One that barely reaches into the crop hides nothing.
            best = across.amax(-1) * down.amax(-1)
            enough = torch.where(best >= IGNORED_SHARE * size, enough.minimum(best), enough)
        enough = enough.masked_fill(~(ignore_real & (enough > 0)), torch.inf)
        shared = (down / enough[..., None])[..., None] * across[..., None, :]
        found.append((shared.amax(1) >= 1 - ROUNDING).flatten(1))
    return torch.cat(found, 1)


def _overlaps(low: Tensor, high: Tensor, cells: int, level: Level) -> Tensor:
    """The length that each anchor of a row or column shares with [low, high] (B x M)."""
    center = (torch.arange(cells, device=low.device) + 0.5) * level.stride
    half = level.side / 2
    begin = torch.maximum(center - half, low[..., None])
    return (torch.minimum(center + half, high[..., None]) - begin).clamp(min=0)


def match(anchors: Tensor, faces: Tensor, real: Tensor, settings: Loss) -> Tensor:
    """Assign faces to anchors as S3FD does: B x A int64, index of the face or -1.

    An anchor takes its best face at `match_iou`, and each face keeps its best anchor. Then faces
    with few anchors take more above `compensate_iou`. A face without area gets nothing.
    """
    # Padding becomes points, which overlap nothing. Anchors lie coordinate by coordinate in
    # memory: operations along A then read neighbors.
    boxes = torch.where(real[..., None], faces, 0)[:, :, None]
    overlap = iou(boxes, corners(anchors).T.contiguous().T)
    best, best_face = overlap.max(1)
    face = best_face.masked_fill(best < settings.match_iou, -1)
    reached, first = overlap.max(2)
    number = torch.arange(faces.shape[1], device=faces.device).expand_as(first)
    number = number.masked_fill(reached <= 0, -1)
    kept = torch.full_like(face, -1).scatter_reduce_(1, first, number, "amax")
    face = torch.where(kept >= 0, kept, face)
    if settings.compensation == "face":
        return _compensate(face, overlap, real, settings)
    # The authors' code: the best free anchors of an image, as many as the mean of the faces that
    # reach `match_iou` and IoU 0.5.
    allowed = (face < 0) & (best > settings.compensate_iou) & (best < settings.match_iou)
    count = ((reached >= settings.match_iou).sum(1) + (reached >= 0.5).sum(1)) // 2
    return torch.where(topk_mask(best, allowed, count), best_face, face)


def _compensate(face: Tensor, overlap: Tensor, real: Tensor, settings: Loss) -> Tensor:
    """`face` after poor faces got more anchors (S3FD, section 3.3); overwrites `overlap`."""
    batch, faces, anchors = overlap.shape
    counts = torch.zeros(batch, 1 + faces, dtype=torch.int64, device=face.device)
    counts = counts.scatter_add_(1, face + 1, torch.ones_like(face))[:, 1:]
    mean = counts.sum(1, keepdim=True) // real.sum(1, keepdim=True).clamp(min=1)
    free = overlap.masked_fill_((face >= 0)[:, None], 0)
    # No mean is higher than this, so that a device need not be asked for it.
    most = min(math.ceil(CROWD / settings.match_iou**2), anchors)
    value, index = stable_topk(free, most, largest=True)
    rank = torch.arange(most, device=face.device)
    wanted = (value > settings.compensate_iou) & (rank < (mean - counts)[..., None])
    # An anchor that two poor faces want goes to the one that it overlaps more.
    cost = (-value).masked_fill(~wanted, torch.inf).flatten(0, 1)
    flat = index + torch.arange(batch, device=face.device)[:, None, None] * anchors
    number = torch.arange(faces, device=face.device).repeat(batch)
    gained = lowest_cost_face(flat.flatten(0, 1), cost, number, batch * anchors)
    return torch.maximum(face, gained.view_as(face))


@torch.no_grad()
def simota(
    predictions: Predictions,
    levels: Sequence[Level],
    anchors: Tensor,
    labels: Labels,
    targets: Targets,
    settings: Loss,
) -> Targets:
    """SimOTA (YOLOX, arXiv 2107.08430, section 2.1), among the anchors around each face's center.

    Each face takes those that predict it at the lowest cost: -log of the face probability plus
    3 x -log IoU of the predicted box. What `targets` ignore stays so where no face takes it.
    """
    image, number = labels.real.nonzero(as_tuple=True)
    boxes = labels.faces[image, number]
    index, valid = candidates(levels, boxes, settings.center_radius, settings.size_ratio)
    flat = index + image[:, None] * len(anchors)
    # NaN is to be met in the loss, not to keep faces from anchors.
    class_cost = F.softplus(-predictions.log_odds.flatten()[flat].float().nan_to_num())
    regression = predictions.regression.flatten(0, 1)[flat].float().nan_to_num()
    nearby = anchors[index]
    overlap = iou(boxes[:, None], safe_decode(regression, nearby)).masked_fill(~valid, 0)
    cost = class_cost - BOX_COST * overlap.clamp(min=TINY).log()
    center, box = nearby[..., :2], boxes[:, None]
    inside = ((center > box[..., :2]) & (center < box[..., 2:])).all(-1)
    cost = torch.where(inside, cost, cost + OUTSIDE_COST).masked_fill(~valid, torch.inf)

    max_k = min(MAX_ANCHORS, cost.shape[1])
    dynamic_k = overlap.topk(max_k).values.sum(-1, keepdim=True).int().clamp(1, max_k)
    cost, index = stable_topk(cost, max_k, largest=False)
    wanted = (torch.arange(max_k, device=cost.device) < dynamic_k) & cost.isfinite()
    cost = cost.masked_fill(~wanted, torch.inf)
    face = lowest_cost_face(flat.gather(1, index), cost, number, targets.face.numel())
    face = face.view_as(targets.face)
    return Targets(face, targets.ignored & (face < 0))


def candidates(
    levels: Sequence[Level], faces: Tensor, center_radius: float, size_ratio: float
) -> tuple[Tensor, Tensor]:
    """The anchors around the centers of `faces` (F x 4, xyxy px), K each.

    Returns:
        F x K int64 indices; F x K bool, false outside of the map, `center_radius` or `size_ratio`.
    """
    center = (faces[:, :2] + faces[:, 2:]) / 2
    sides = torch.tensor([level.side for level in levels], device=faces.device).log()
    size = (faces[:, 2:] - faces[:, :2]).clamp(min=TINY).log().mean(-1)
    # Faces beyond the smallest and largest anchor count as these.
    apart = (size.clamp(sides.min(), sides.max())[:, None] - sides).abs()
    indices, valids, begin = [], [], 0
    for number, level in enumerate(levels):
        columns, column_valid = _cells(center[:, 0], level, level.columns, center_radius)
        rows, row_valid = _cells(center[:, 1], level, level.rows, center_radius)
        valid = row_valid[:, :, None] & column_valid[:, None]
        if size_ratio:
            valid = valid & (apart[:, number] <= math.log(size_ratio))[:, None, None]
        index = begin + rows[:, :, None] * level.columns + columns[:, None]
        begin += level.rows * level.columns
        indices.append(index.flatten(1))
        valids.append(valid.flatten(1))
    return torch.cat(indices, 1), torch.cat(valids, 1)


def _cells(center: Tensor, level: Level, count: int, radius: float) -> tuple[Tensor, Tensor]:
    """Rows or columns near a coordinate of F faces, F x n, within the map; and which count."""
    reach = radius * level.side
    first = (center / level.stride - 0.5 - reach / level.stride).floor().long() + 1
    span = torch.arange(math.ceil(2 * reach / level.stride), device=center.device)
    cell = first[:, None] + span
    near = ((cell + 0.5) * level.stride - center[:, None]).abs() < reach
    return cell.clamp(0, count - 1), near & (cell >= 0) & (cell < count)


def lowest_cost_face(anchors: Tensor, costs: Tensor, faces: Tensor, count: int) -> Tensor:
    """The face with the lowest cost for each of `count` anchors, of equal ones the first; or -1.

    `anchors` are the F x K indices of K candidates for each of F `faces` (int64 numbers), and
    `costs` F x K, infinite where a face does not take an anchor.
    """
    flat, cost = anchors.flatten(), costs.flatten()
    least = cost.new_full((count,), torch.inf).scatter_reduce_(0, flat, cost, "amin")
    lost = cost.isinf() | (cost != least[flat])
    none = torch.iinfo(faces.dtype).max
    face = faces.repeat_interleave(anchors.shape[1]).masked_fill_(lost, none)
    face = flat.new_full((count,), none).scatter_reduce_(0, flat, face, "amin")
    return face.masked_fill_(face == none, -1)


def stable_topk(values: Tensor, count: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """The `count` largest or smallest of `values` (... x A, not negative) in order; their indices.

    Of equal ones the first comes first on every device: a small face has the same IoU with all
    anchors that contain it.
    """
    # In float64, steps far below the distance of two float32 numbers put equal ones in order.
    step = 2.0**-45 * (-1 if largest else 1)
    order = 1 + step * torch.arange(values.shape[-1], dtype=torch.float64, device=values.device)
    index = (values * order).topk(count, largest=largest).indices
    return values.gather(-1, index), index


def topk_mask(values: Tensor, allowed: Tensor, count: Tensor) -> Tensor:
    """The `count` (B) highest allowed ones of `values` (B x A), of equal ones the first: B x A."""
    order = values.masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True, stable=True)
    early = torch.arange(values.shape[1], device=values.device) < count[:, None]
    return allowed & torch.zeros_like(allowed).scatter_(1, order, early)
