"""SimOTA, the assignment of YOLOX (arXiv 2107.08430, section 2.1): it looks at predictions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from extd.models.extd import Predictions
from extd.training.atss import inside
from extd.training.box_losses import safe_decode
from extd.training.matching import Targets, award, iou, lowest, pairwise

BOX_WEIGHT = 3.0
OUTSIDE = 1e3
"""Cost of an anchor that is not both inside a face and near its centre: more than any other."""
MOST = 10
"""A face takes as many anchors as the sum of its this many highest IoUs says."""
TINY = 1e-8


@torch.no_grad()
def simota(
    predictions: Predictions,
    anchors: Tensor,
    faces: Tensor,
    real: Tensor,
    targets: Targets,
    centre: float,
    size_ratio: float = 0.0,
) -> Targets:
    """Give each face the anchors that predict it at the lowest cost.

    Cost is -log of the face probability plus 3 x -log IoU of the predicted box. An anchor that
    several faces take goes to the one with the lowest. Takes B x N x A numbers a few times.

    Args:
        predictions: of B pictures; no gradient flows through the choice.
        anchors: A x 4 (cx, cy, w, h) px.
        faces: B x N x 4, xyxy px.
        real: B x N bool, which are no padding.
        targets: of `assign`; what is ignored there and takes no face stays ignored.
        centre: how far from the centre of a face an anchor may lie, in sides of the anchor.
        size_ratio: how many times larger or smaller than a face an anchor may be; 0 lets any.
    """
    # NaN is to be met in the loss, not to keep faces from anchors.
    surprise = F.softplus(-predictions.log_odds.float().nan_to_num())
    decoded = safe_decode(predictions.regression.float().nan_to_num(), anchors)
    boxes, guesses = pairwise(faces, real, decoded)
    _, places = pairwise(faces, real, anchors)
    within, central = inside(places, boxes), near(places, boxes, centre)
    possible = (within | central) & real[..., None]
    if size_ratio:
        possible &= alike(anchors, faces, size_ratio)
    overlap = iou(boxes, guesses).masked_fill(~possible, 0)
    cost = surprise[:, None] - BOX_WEIGHT * overlap.clamp(min=TINY).log()
    cost = torch.where(within & central, cost, cost + OUTSIDE).masked_fill(~possible, torch.inf)

    most = min(MOST, len(anchors))
    room = overlap.topk(most).values.sum(-1, keepdim=True).int().clamp(1, most)
    price, index = lowest(cost, most)
    rank = torch.arange(most, device=cost.device)
    wanted = (rank < room) & price.isfinite()
    taken = award(index, -price, wanted, len(anchors))
    return Targets(taken, targets.ignored & (taken < 0))


def near(anchors: Tensor, faces: Tensor, centre: float) -> Tensor:
    """Whether anchors (cx, cy, w, h) lie within `centre` of their sides of the centres of faces.

    Faces are xyxy; shapes broadcast.
    """
    away = [
        (anchors[..., axis] - (faces[..., axis] + faces[..., axis + 2]) / 2).abs()
        for axis in (0, 1)
    ]
    return torch.maximum(*away) < centre * anchors[..., 2]


def alike(anchors: Tensor, faces: Tensor, ratio: float) -> Tensor:
    """Whether the sides of anchors and faces differ by at most that ratio: B x N x A.

    Args:
        anchors: A x 4 (cx, cy, w, h) px, squares.
        faces: B x N x 4, xyxy px. Beyond the smallest and largest anchor they count as these.
        ratio: 1 or more.
    """
    sides = anchors[:, 2].log()
    size = (faces[..., 2:] - faces[..., :2]).clamp(min=TINY).log().mean(-1, keepdim=True)
    return (size.clamp(sides.min(), sides.max()) - sides).abs() <= math.log(ratio)
