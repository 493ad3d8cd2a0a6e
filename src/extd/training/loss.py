"""The multitask loss (section 3.4, equation 3) with hard negative mining."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from extd.models.anchors import encode
from extd.models.extd import Predictions
from extd.training.matching import Targets
from extd.training.recipe import Loss


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of the loss of a batch, scalars.

    Attributes:
        classes: cross-entropy over positives and mined negatives, normalised.
        boxes: smooth L1 over positives, normalised and weighted.
        positives: how many anchors were positive.
    """

    classes: Tensor
    boxes: Tensor
    positives: int

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.classes + self.boxes


def multitask_loss(
    predictions: Predictions,
    anchors: Tensor,
    targets: list[Targets],
    faces: list[Tensor],
    settings: Loss,
) -> Losses:
    """L = 1/N_cls Σ l_c + λ/N_reg Σ r* l_r (equation 3).

    N_cls counts positives and kept negatives, N_reg positives, over the batch.

    Args:
        predictions: of B pictures with A anchors each.
        anchors: A x 4 (cx, cy, w, h) px.
        targets: B assignments.
        faces: B tensors N_b x 4, xyxy px.
        settings: weights and the negatives' ratio.
    """
    face = torch.stack([t.face for t in targets])
    positive = face >= 0
    negative = torch.stack([t.negative for t in targets])
    logits = predictions.logits.float()
    entropy = F.cross_entropy(logits.transpose(1, 2), positive.long(), reduction="none")

    kept = mine_negatives(entropy.detach(), negative, positive.sum(1) * settings.negatives)
    count = positive.sum().clamp(min=1)
    divisor = count + kept.sum() if settings.normalizer == "paper" else count
    classes = entropy[positive | kept].sum() / divisor

    picture, anchor = torch.nonzero(positive, as_tuple=True)
    starts = torch.tensor([0, *(len(f) for f in faces[:-1])], device=face.device).cumsum(0)
    matched = torch.cat(faces)[starts[picture] + face[picture, anchor]]
    wanted = encode(matched, anchors[anchor])
    regression = predictions.regression[picture, anchor].float()
    boxes = F.smooth_l1_loss(regression, wanted, reduction="sum") / count
    return Losses(classes, settings.box_weight * boxes, len(picture))


def mine_negatives(entropy: Tensor, negative: Tensor, keep: Tensor) -> Tensor:
    """The hardest negatives of each picture (SSD, section 2.2).

    Args:
        entropy: B x A loss of each anchor.
        negative: B x A bool, may be chosen.
        keep: B, how many to choose at most.

    Returns:
        B x A bool.
    """
    hardness = entropy.masked_fill(~negative, -1)
    rank = hardness.argsort(1, descending=True).argsort(1)
    return (rank < keep[:, None]) & negative
