"""SimOTA, the assignment of YOLOX (arXiv 2107.08430, section 2.1): it looks at predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from extd.models.anchors import Level
from extd.models.extd import Predictions
from extd.training.atss import inside
from extd.training.box_losses import safe_decode
from extd.training.matching import Targets, iou, lowest

BOX_WEIGHT = 3.0
OUTSIDE = 1e3
"""Cost of an anchor outside of the face: more than any other."""
MOST = 10
"""A face takes as many anchors as the sum of its this many highest IoUs says."""
TINY = 1e-8


class Candidates(NamedTuple):
    """The anchors around the centers of F faces, K each.

    Attributes:
        anchor: F x K int64, indices.
        valid: F x K bool; the others lie outside of the map, or too far from the center.
    """

    anchor: Tensor
    valid: Tensor


@torch.no_grad()
def simota(
    predictions: Predictions,
    levels: Sequence[Level],
    anchors: Tensor,
    faces: Tensor,
    real: Tensor,
    targets: Targets,
    centre: float,
    size_ratio: float = 0.0,
) -> Targets:
    """Give each face those of the anchors around its center that predict it at the lowest cost.

    Cost is -log of the face probability plus 3 x -log IoU of the predicted box. An anchor that
    several faces take goes to the one with the lowest.

    Args:
        predictions: of B pictures; no gradient flows through the choice.
        levels: of the A anchors.
        anchors: A x 4 (cx, cy, w, h) px.
        faces: B x N x 4, xyxy px.
        real: B x N bool, which are no padding.
        targets: of `assign`; what is ignored there and takes no face stays ignored.
        centre: how far from the center of a face an anchor may lie, in sides of the anchor.
        size_ratio: how many times larger or smaller than a face an anchor may be; 0 lets any.
    """
    picture, place = real.nonzero(as_tuple=True)
    boxes = faces[picture, place]
    index, valid = candidates(levels, boxes, centre, size_ratio)
    flat = index + picture[:, None] * len(anchors)
    # NaN is to be met in the loss, not to keep faces from anchors.
    surprise = F.softplus(-predictions.log_odds.flatten()[flat].float().nan_to_num())
    regression = predictions.regression.flatten(0, 1)[flat].float().nan_to_num()
    nearby = anchors[index]
    overlap = iou(boxes[:, None], safe_decode(regression, nearby)).masked_fill(~valid, 0)
    cost = surprise - BOX_WEIGHT * overlap.clamp(min=TINY).log()
    cost = torch.where(inside(nearby, boxes[:, None]), cost, cost + OUTSIDE)
    cost = cost.masked_fill(~valid, torch.inf)

    most = min(MOST, cost.shape[1])
    room = overlap.topk(most).values.sum(-1, keepdim=True).int().clamp(1, most)
    price, rank = lowest(cost, most)
    wanted = (torch.arange(most, device=cost.device) < room) & price.isfinite()
    price = price.masked_fill(~wanted, torch.inf)
    taken = _award(flat.gather(1, rank), price, targets.face.numel())
    face = torch.cat([place, place.new_full((1,), -1)])[taken].view(targets.face.shape)
    return Targets(face, targets.ignored & (face < 0))


def candidates(
    levels: Sequence[Level], faces: Tensor, centre: float, size_ratio: float
) -> Candidates:
    """The anchors around the centers of `faces` (F x 4, xyxy px); see `simota`."""
    middle = (faces[:, :2] + faces[:, 2:]) / 2
    sides = torch.tensor([level.side for level in levels], device=faces.device).log()
    size = (faces[:, 2:] - faces[:, :2]).clamp(min=TINY).log().mean(-1)
    # Faces beyond the smallest and largest anchor count as these.
    apart = (size.clamp(sides.min(), sides.max())[:, None] - sides).abs()
    begins = accumulate((level.rows * level.columns for level in levels), initial=0)
    indices, valids = [], []
    for number, (level, begin) in enumerate(zip(levels, begins, strict=False)):
        columns, column_valid = _cells(middle[:, 0], level, level.columns, centre)
        rows, row_valid = _cells(middle[:, 1], level, level.rows, centre)
        valid = row_valid[:, :, None] & column_valid[:, None]
        if size_ratio:
            valid = valid & (apart[:, number] <= math.log(size_ratio))[:, None, None]
        index = begin + rows[:, :, None] * level.columns + columns[:, None]
        indices.append(index.flatten(1))
        valids.append(valid.flatten(1))
    return Candidates(torch.cat(indices, 1), torch.cat(valids, 1))


def _cells(middle: Tensor, level: Level, count: int, centre: float) -> tuple[Tensor, Tensor]:
    """Rows or columns near a coordinate of F faces, F x n, within the map; and which count."""
    reach = centre * level.side
    first = (middle / level.stride - 0.5 - reach / level.stride).floor().long() + 1
    span = torch.arange(math.ceil(2 * reach / level.stride), device=middle.device)
    cell = first[:, None] + span
    near = ((cell + 0.5) * level.stride - middle[:, None]).abs() < reach
    return cell.clamp(0, count - 1), near & (cell >= 0) & (cell < count)


def _award(anchors: Tensor, prices: Tensor, count: int) -> Tensor:
    """Which of F faces gets each anchor: that with the lowest price, and of equal ones the first.

    Args:
        anchors: F x K, for each face.
        prices: F x K, infinite where a face does not want an anchor.
        count: of all anchors.

    Returns:
        `count` int64, F where no face wants the anchor.
    """
    flat, offers, none = anchors.flatten(), prices.flatten(), len(anchors)
    least = offers.new_full((count,), torch.inf).scatter_reduce_(0, flat, offers, "amin")
    won = offers.isfinite() & (offers == least[flat])
    bidder = torch.arange(none, device=flat.device).repeat_interleave(anchors.shape[1])
    face = flat.new_full((count,), none)
    return face.scatter_reduce_(0, flat, bidder.masked_fill(~won, none), "amin")
