"""S3FD's anchor matching with scale compensation (section 3.4 of the paper)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from extd.training.recipe import Loss


class Targets(NamedTuple):
    """What each of A anchors should say about one picture.

    Attributes:
        face: A int64, index of the matched face, or -1.
        negative: A bool, may be mined as background; neither holds in an ignored region.
    """

    face: Tensor
    negative: Tensor


def pairwise_iou(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """IoU, and share of the anchor that the box covers, of A x 4 and N x 4 xyxy: two A x N."""
    low = torch.maximum(anchors[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(anchors[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    anchor_area = (anchors[:, 2:] - anchors[:, :2]).prod(-1)[:, None]
    box_area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)[None]
    return shared / (anchor_area + box_area - shared), shared / anchor_area


def match(anchors: Tensor, boxes: Tensor, ignore: Tensor, settings: Loss) -> Targets:
    """Assign faces to anchors.

    An anchor takes its best face at `match_iou`, and each face keeps its best anchor. Then faces
    with fewer anchors than the mean take their next best ones above `compensate_iou`, up to that
    mean, or the pooled rule of the authors' code holds.

    Args:
        anchors: A x 4 xyxy px.
        boxes: N x 4 faces.
        ignore: M x 4 regions in which anchors are neither face nor background.
        settings: thresholds and rule.
    """
    count = len(anchors)
    face = torch.full((count,), -1, dtype=torch.long, device=anchors.device)
    negative = torch.ones(count, dtype=torch.bool, device=anchors.device)
    if len(ignore):
        overlap, covered = pairwise_iou(anchors, ignore)
        # Anchors are 16 px and more: one on a 4 px face has an IoU of 1/16, on smaller ones less,
        # so a region's best anchor always counts.
        best = (overlap == overlap.amax(0)[None]) & (overlap > 0)
        negative &= ~((overlap > 0.05) | (covered > 0.5) | best).any(1)
    if len(boxes):
        overlap, _ = pairwise_iou(anchors, boxes)
        best, best_face = overlap.max(1)
        face = torch.where(best >= settings.match_iou, best_face, face)
        first = overlap.argmax(0)
        face[first] = torch.arange(len(boxes), device=anchors.device)
        if settings.compensation == "face":
            _compensate(face, overlap, settings.compensate_iou)
        else:
            _compensate_pooled(face, overlap, settings)
        negative &= face < 0
    return Targets(face, negative)


def _compensate(face: Tensor, overlap: Tensor, threshold: float) -> None:
    """Give poor faces more anchors, in place (S3FD, section 3.3)."""
    counts = torch.bincount(face[face >= 0], minlength=overlap.shape[1])
    mean = int(counts.float().mean())
    poor = torch.nonzero(counts < mean).flatten()
    if not len(poor):
        return
    free = overlap[:, poor].masked_fill((face >= 0)[:, None], 0)
    best, index = free.topk(min(mean, len(free)), dim=0)
    rank = torch.arange(len(best), device=best.device)[:, None]
    wanted = (best > threshold) & (rank < (mean - counts[poor])[None])
    # An anchor that two poor faces want goes to the one that it overlaps more.
    order = best[wanted].argsort()
    face[index[wanted][order]] = poor.expand_as(best)[wanted][order]


def _compensate_pooled(face: Tensor, overlap: Tensor, settings: Loss) -> None:
    """Make the best free anchors of all faces positive, in place (the authors' released code).

    How many: the mean of the faces whose best anchor reaches `match_iou` and IoU 0.5.
    """
    reached = overlap.amax(0)
    count = int((reached >= settings.match_iou).sum() + (reached >= 0.5).sum()) // 2
    best, best_face = overlap.max(1)
    free = (face < 0) & (best > settings.compensate_iou) & (best < settings.match_iou)
    values, index = best.masked_fill(~free, 0).topk(min(count, len(best)))
    chosen = index[values > 0]
    face[chosen] = best_face[chosen]
