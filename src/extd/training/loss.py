"""The multitask loss (section 3.4, equation 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from extd.models.extd import Predictions
from extd.training.box_losses import box_loss, safe_decode
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
        positives: how many anchors were positive, int64.
    """

    classes: Tensor
    boxes: Tensor
    positives: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.classes + self.boxes


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


def multitask_loss(
    predictions: Predictions,
    anchors: Tensor,
    targets: Targets,
    faces: Tensor,
    real: Tensor,
    settings: Loss,
    counts: Tensor,
) -> Losses:
    """L = 1/N_cls Σ l_c + λ/N_reg Σ r* l_r (equation 3).

    Losses of the parts of a batch, each with the counts of the whole, add up to that of the whole.
    With SimOTA each part is divided by its own positives and weighs its share of the pictures.
    The host never waits for a device.

    Args:
        predictions: of B pictures with A anchors each.
        anchors: A x 4 (cx, cy, w, h) px, for which `targets` were assigned.
        targets: of `assign`.
        faces: B x N x 4, xyxy px.
        real: B x N bool, which faces are no padding.
        settings: kinds and weights.
        counts: of `count`, over the whole batch.
    """
    predictions = Predictions(*(_precise(part) for part in predictions))
    regression, score = predictions.regression, predictions.log_odds
    if settings.assignment == "simota":
        share = len(faces) / counts
        limits = settings.centre, settings.size_ratio
        targets = simota(predictions, anchors, faces, real, targets, *limits)
        counts = _count(targets, settings).clamp(min=1) / share
    n_reg, n_cls = counts.clamp(min=1).unbind()
    positive = targets.face >= 0
    negative = ~(positive | targets.ignored)

    # Other anchors are compared with any face, but what they predict cannot spoil the gradient.
    matched = faces.gather(1, targets.face.clamp(min=0)[..., None].expand(-1, -1, 4))
    regression = torch.where(positive[..., None], regression, 0)

    if settings.classification == "cross_entropy":
        classes = cross_entropy(score, positive, negative, settings.negatives)
    elif settings.classification == "focal":
        classes = focal(score, positive, negative)
    else:
        quality = iou(safe_decode(regression.detach(), anchors), matched)
        classes = quality_focal(score, quality, positive, negative)
    boxes = box_loss(regression, matched, anchors, settings.regression).masked_fill(~positive, 0)
    return Losses(classes.sum() / n_cls, settings.box_weight * boxes.sum() / n_reg, positive.sum())


def _precise(values: Tensor) -> Tensor:
    """Half precision of autocast as float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
