"""The multitask loss (section 3.4, equation 3) and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from extd.models.anchors import Level, decode_landmarks, encode
from extd.models.extd import Predictions
from extd.training.assigners import Labels, Targets, area, iou, safe_decode, simota, topk_mask
from extd.training.recipe import Loss


class Losses(NamedTuple):
    """The parts of the loss of a batch, scalars; the first three add up to what is minimized.

    Landmarks count where they are known. `positives` is how many anchors were positive, int64.
    """

    classes: Tensor
    boxes: Tensor
    landmarks: Tensor
    positives: Tensor


def multitask_loss(
    predictions: Predictions,
    levels: Sequence[Level],
    anchors: Tensor,
    labels: Labels,
    targets: Targets,
    settings: Loss,
    counts: Tensor,
) -> Losses:
    """L = 1/N_cls Σ l_c + λ/N_reg Σ r* l_r (equation 3).

    Losses of the parts of a batch, each with the `counts` of the whole, add up to that of the
    whole. With SimOTA each part is divided by its own positives and weighs its share of the images.
    `anchors` are A x 4 (cx, cy, w, h) px, of the `levels`; `targets` are those of `assign`.
    """
    score = _full_precision(predictions.log_odds)
    if settings.assigner == "simota":
        share = len(score) / counts
        targets = simota(predictions, levels, anchors, labels, targets, settings)
        counts = _count(targets, settings).clamp(min=1) / share
    n_reg, n_cls = counts.clamp(min=1).unbind()
    positive = targets.face >= 0
    negative = ~(positive | targets.ignored)

    # Boxes and landmarks concern positives alone, a hundredth of all anchors.
    image, anchor = positive.nonzero(as_tuple=True)
    face = targets.face[image, anchor]
    regression = _full_precision(predictions.regression[image, anchor])
    matched, nearby = labels.faces[image, face], anchors[anchor]

    if settings.classification == "cross_entropy":
        classes = cross_entropy(score, positive, negative, settings.negatives)
    else:
        reached = iou(safe_decode(regression.detach(), nearby), matched)
        quality = torch.zeros_like(score).masked_scatter(positive, reached)
        classes = quality_focal(score, quality, positive, negative)
    if settings.regression == "smooth_l1":
        wanted = encode(matched, nearby)
        boxes = F.smooth_l1_loss(regression, wanted, reduction="none").sum(-1)
    else:
        boxes = eiou(safe_decode(regression, nearby), matched)
    landmarks = boxes.new_zeros(())
    if predictions.landmarks is not None:
        points = decode_landmarks(_full_precision(predictions.landmarks[image, anchor]), nearby)
        landmarks = landmark_loss(points, labels.landmarks[image, face], matched).sum()
    return Losses(
        classes.sum() / n_cls,
        settings.box_weight * boxes.sum() / n_reg,
        settings.landmark_weight * landmarks / n_reg,
        positive.sum(),
    )


def count(targets: Targets, settings: Loss) -> Tensor:
    """N_reg and N_cls of equation 3, which the loss is divided by: 2 float32.

    Positives, and the same with kept negatives, or without them if `settings` say so; both are the
    number of images with SimOTA, which finds positives during the loss. Counts of parts add up.
    """
    if settings.assigner == "simota":
        return targets.face.new_full((2,), len(targets.face), dtype=torch.float32)
    return _count(targets, settings)


def _count(targets: Targets, settings: Loss) -> Tensor:
    positive = targets.face >= 0
    positives = positive.sum(1)
    divisor = positives
    if settings.classification == "cross_entropy" and settings.normalizer == "paper":
        available = (~(positive | targets.ignored)).sum(1)
        divisor = positives + torch.minimum(settings.negatives * positives, available)
    return torch.stack([positives.sum(), divisor.sum()]).float()


def cross_entropy(score: Tensor, positive: Tensor, negative: Tensor, negatives: int) -> Tensor:
    """Cross-entropy of positives and of the hardest negatives of each image (SSD, section 2.2).

    `negatives` are mined for each positive. All are B x A; 0 for anchors that do not count.
    """
    entropy = -F.logsigmoid(torch.where(positive, score, -score))
    mined = topk_mask(entropy.detach(), negative, positive.sum(1) * negatives)
    return entropy.masked_fill(~(positive | mined), 0)


def quality_focal(score: Tensor, quality: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Cross-entropy against soft targets, weighted by the distance (arXiv 2006.04388, equation 2).

    The target of a positive is the `quality`, the IoU of its predicted box, into which no gradient
    flows; that of a negative is 0. All are B x A; 0 is returned for anchors that do not count.
    """
    target = quality.detach().masked_fill(~positive, 0)
    weight = (target - torch.sigmoid(score)) ** 2
    entropy = F.binary_cross_entropy_with_logits(score, target, reduction="none")
    return (weight * entropy).masked_fill(~(positive | negative), 0)


def eiou(a: Tensor, b: Tensor) -> Tensor:
    """EIoU loss of boxes (P x 4, xyxy) of some area: P (arXiv 2101.08158, equation 7).

    1 - IoU, plus the squared distance of the centers and the squared differences of width and
    height, relative to the diagonal, width and height of the smallest box around both.
    """
    size = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    width, height = size.unbind(-1)
    x, y = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).unbind(-1)
    wider, higher = (a[..., 2:] - a[..., :2] - b[..., 2:] + b[..., :2]).unbind(-1)
    distance = (x**2 + y**2) / 4 / (width**2 + height**2)
    return 1 - iou(a, b) + distance + (wider / width) ** 2 + (higher / height) ** 2


def landmark_loss(points: Tensor, known: Tensor, faces: Tensor) -> Tensor:
    """Mean distance of five points along x and y, in face sides: P; 0 where unknown.

    `points` and the `known` ones (NaN: unknown) are P x 10 px, their `faces` P x 4, xyxy px.
    """
    there = ~known.isnan()
    # NaN would spoil the gradient even where it does not count.
    apart = (points - torch.where(there, known, points.detach())).abs().mean(-1)
    return apart / area(faces).clamp(min=1).sqrt()


def _full_precision(values: Tensor) -> Tensor:
    """Half precision of autocast as float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
