"""Losses of the class scores, one value an anchor; 0 for anchors that do not count.

A score is the face's logit less the background's, whose logistic function is the probability of a
face.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from extd.training.matching import leading


def cross_entropy(score: Tensor, positive: Tensor, negative: Tensor, negatives: int) -> Tensor:
    """Cross-entropy of positives and of the hardest negatives of each picture (SSD, section 2.2).

    Args:
        score: B x A.
        positive: B x A bool.
        negative: B x A bool, may be mined.
        negatives: how many to mine for each positive.
    """
    entropy = -F.logsigmoid(torch.where(positive, score, -score))
    mined = leading(entropy.detach(), negative, positive.sum(1) * negatives)
    return entropy.masked_fill(~(positive | mined), 0)


def focal(
    score: Tensor, positive: Tensor, negative: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Cross-entropy with less weight on what is already right (arXiv 1708.02002, equation 5).

    Args:
        score: B x A.
        positive: B x A bool.
        negative: B x A bool.
        alpha: weight of positives; negatives have 1 - alpha.
        gamma: how fast the weight falls.
    """
    right = torch.where(positive, score, -score)
    weight = torch.where(positive, alpha, 1 - alpha) * torch.sigmoid(-right) ** gamma
    return (-weight * F.logsigmoid(right)).masked_fill(~(positive | negative), 0)


def quality_focal(
    score: Tensor, quality: Tensor, positive: Tensor, negative: Tensor, beta: float = 2.0
) -> Tensor:
    """Cross-entropy against soft targets, weighted by the distance (arXiv 2006.04388, equation 2).

    Args:
        score: B x A.
        quality: B x A, IoU of the predicted box with its face; no gradient flows into it.
        positive: B x A bool; elsewhere the target is 0.
        negative: B x A bool.
        beta: how fast the weight falls.
    """
    target = quality.detach().masked_fill(~positive, 0)
    weight = (target - torch.sigmoid(score)).abs() ** beta
    entropy = F.binary_cross_entropy_with_logits(score, target, reduction="none")
    return (weight * entropy).masked_fill(~(positive | negative), 0)
