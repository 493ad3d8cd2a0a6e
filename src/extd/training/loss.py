"""The multitask loss (section 3.4, equation 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from extd.models.anchors import Level, decode_landmarks
from extd.models.extd import Predictions
from extd.training.box_losses import box_loss, landmark_loss, safe_decode
from extd.training.class_losses import cross_entropy, focal, quality_focal
from extd.training.matching import Targets, iou
from extd.training.recipe import Loss
from extd.training.simota import simota


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of the loss of a batch, scalars.

    Attributes:
        classes: over positives and the negatives that count, normalised.
        boxes: over positives, normalised and weighted.
        landmarks: likewise, over those positives whose landmarks are known.
        positives: how many anchors were positive, int64.
    """

    classes: Tensor
    boxes: Tensor
    landmarks: Tensor
    positives: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.classes + self.boxes + self.landmarks


def count(targets: Targets, settings: Loss) -> Tensor:
    """What the loss of a batch is divided by; counts of its parts add up to those of the whole.

    N_reg and N_cls of equation 3: positives, and the same with kept negatives, or without them
    where `settings` say so. SimOTA finds positives only during the loss, so there both are the
    number of pictures.

    Returns:
        2 float32.
    """
    if settings.assignment == "simota":
        return torch.full((2,), float(len(targets.face)), device=targets.face.device)
    return _count(targets, settings)


def _count(targets: Targets, settings: Loss) -> Tensor:
    """Positives, and what the class loss is divided by, whatever the assignment."""
    positive = targets.face >= 0
    positives = positive.sum(1)
    divisor = positives
    if settings.classification == "cross_entropy" and settings.normalizer == "paper":
        available = (~(positive | targets.ignored)).sum(1)
        divisor = positives + torch.minimum(settings.negatives * positives, available)
    return torch.stack([positives.sum(), divisor.sum()]).float()


class Truth(NamedTuple):
    """The faces of B pictures, padded to the same number.

    Attributes:
        faces: B x N x 4, xyxy px.
        real: B x N bool, which faces are no padding.
        landmarks: B x N x 10, x and y of five points, px; NaN where they are not known.
    """

    faces: Tensor
    real: Tensor
    landmarks: Tensor


def multitask_loss(
    predictions: Predictions,
    levels: Sequence[Level],
    anchors: Tensor,
    targets: Targets,
    truth: Truth,
    settings: Loss,
    counts: Tensor,
) -> Losses:
    """L = 1/N_cls Σ l_c + λ/N_reg Σ r* l_r (equation 3).

    Losses of the parts of a batch, each with the counts of the whole, add up to that of the whole.
    With SimOTA each part is divided by its own positives and weighs its share of the pictures.

    Args:
        predictions: of B pictures with A anchors each.
        levels: of the anchors.
        anchors: A x 4 (cx, cy, w, h) px, for which `targets` were assigned.
        targets: of `assign`.
        truth: the faces.
        settings: kinds and weights.
        counts: of `count`, over the whole batch.
    """
    score = _precise(predictions.log_odds)
    faces, real, _ = truth
    if settings.assignment == "simota":
        share = len(faces) / counts
        limits = settings.centre, settings.size_ratio
        targets = simota(predictions, levels, anchors, faces, real, targets, *limits)
        counts = _count(targets, settings).clamp(min=1) / share
    n_reg, n_cls = counts.clamp(min=1).unbind()
    positive = targets.face >= 0
    negative = ~(positive | targets.ignored)

    # Boxes and landmarks concern positives alone, a hundredth of all anchors.
    picture, anchor = positive.nonzero(as_tuple=True)
    face = targets.face[picture, anchor]
    regression = _precise(predictions.regression[picture, anchor])
    matched, nearby = faces[picture, face], anchors[anchor]

    if settings.classification == "cross_entropy":
        classes = cross_entropy(score, positive, negative, settings.negatives)
    elif settings.classification == "focal":
        classes = focal(score, positive, negative)
    else:
        reached = iou(safe_decode(regression.detach(), nearby), matched)
        quality = torch.zeros_like(score).masked_scatter(positive, reached)
        classes = quality_focal(score, quality, positive, negative)
    boxes = box_loss(regression, matched, nearby, settings.regression)
    landmarks = boxes.new_zeros(())
    if predictions.landmarks is not None:
        points = decode_landmarks(_precise(predictions.landmarks[picture, anchor]), nearby)
        landmarks = landmark_loss(points, truth.landmarks[picture, face], matched).sum()
    return Losses(
        classes.sum() / n_cls,
        settings.box_weight * boxes.sum() / n_reg,
        settings.landmark_weight * landmarks / n_reg,
        positive.sum(),
    )


def _precise(values: Tensor) -> Tensor:
    """Half precision of autocast as float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
