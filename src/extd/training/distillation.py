"""The loss of learning from a teacher beside the labels (Hinton et al., arXiv 1503.02531).

Every term is a mean over pictures of what each gives by itself, so a batch has the same loss
whether it is computed whole or in equal parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extd.models.config import NetworkConfig
from extd.models.extd import Predictions
from extd.training.recipe import Distillation
from extd.training.teacher import DetectorTeacher, SoftTargets, Teacher, soft_targets

WEAK_CHANNEL = 0.1
"""Power of a channel, relative to the mean of its map, below which its errors count less."""
TINY = 1e-9
"""What is divided by is at least this."""


@dataclass(frozen=True, slots=True)
class DistillationLosses:
    """The weighted terms of a batch, scalars.

    Attributes:
        classes: divergence of the student's class scores from the teacher's.
        boxes: smooth L1 between their offsets.
        features: squared difference of their maps.
    """

    classes: Tensor
    boxes: Tensor
    features: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.classes + self.boxes + self.features


class FeatureAdapter(nn.Module):
    """1x1 convolutions that bring the student's maps to the teacher's width, one a level.

    They begin by passing the channels on, and are thrown away after training.
    """

    def __init__(self, config: NetworkConfig, teacher_channels: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Conv2d(*widths, 1) for widths in zip(config.channels, teacher_channels, strict=True)
        )
        for level in self.levels:
            assert isinstance(level, nn.Conv2d)
            assert level.bias is not None
            nn.init.dirac_(level.weight)
            nn.init.zeros_(level.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Six maps B x C x H x W, finest first, to as many of the teacher's C."""
        return [level(x) for level, x in zip(self.levels, maps, strict=True)]


def feature_adapter(
    config: NetworkConfig, teacher: Teacher, settings: Distillation
) -> FeatureAdapter | None:
    """What brings the maps of a network of `config` to the teacher's; None without a feature term.

    Raises:
        ValueError: a feature term is wanted of a teacher that shows only boxes and scores.
    """
    if not settings.feature_weight:
        return None
    if isinstance(teacher, DetectorTeacher):
        raise ValueError(
            f"distillation.feature_weight is {settings.feature_weight}, but the teacher "
            f"{teacher.detector.network.path} shows no maps; give 0, or .safetensors weights"
        )
    return FeatureAdapter(config, teacher.network.config.channels)


def distillation_loss(
    predictions: Predictions,
    maps: list[Tensor],
    teacher: Teacher,
    images: Tensor,
    anchors: Tensor,
    settings: Distillation,
) -> DistillationLosses:
    """Ask the teacher about a batch and compare.

    Args:
        predictions: the student's, of B pictures with A anchors each.
        maps: what its heads read, finest first, B x C x H x W, brought to the teacher's width by
            a `FeatureAdapter`; not looked at where `settings.feature_weight` is 0.
        teacher: it receives no gradient.
        images: B x 3 x S x S float, RGB of 0 to 255.
        anchors: A x 4 (cx, cy, w, h) px, the student's.
        settings: weights of the terms, temperature, threshold.
    """
    taught = soft_targets(teacher, images, anchors, settings.threshold)
    features = torch.zeros((), device=images.device)
    if settings.feature_weight:
        features = feature_term(maps, taught.maps)
    return DistillationLosses(
        settings.class_weight * class_term(predictions.log_odds, taught, settings.temperature),
        settings.box_weight * box_term(predictions.regression, taught),
        settings.feature_weight * features,
    )


def class_term(student: Tensor, taught: SoftTargets, temperature: float) -> Tensor:
    """Mean divergence over the anchors in which teacher or student sees a face.

    An anchor weighs the square of the teacher's face probability; where the student's is greater,
    it takes its place, but what is so added to a picture is at most as much as the teacher gives
    it, or one anchor. Without the square and the limit, thousands of background anchors of small
    probability would drown the faces.

    Args:
        student: B x A, its log odds of a face.
        taught: the teacher's word.
        temperature: above 0.
    """
    student = student.float()
    faces = taught.trust * taught.log_odds.sigmoid().square()
    alarms = (taught.trust * student.detach().sigmoid().square() - faces).clamp(min=0)
    limit = faces.sum(1, keepdim=True).clamp(min=1)
    alarms = alarms * (limit / alarms.sum(1, keepdim=True).clamp(min=TINY)).clamp(max=1)
    divergence = softened_divergence(taught.log_odds, student, temperature)
    return _weighted_mean(divergence, faces + alarms)


def softened_divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T² KL(teacher || student) of two classes whose logits are divided by T, element by element.

    T² keeps the gradient's size (arXiv 1503.02531, section 2): for large T the value approaches
    an eighth of the squared difference of the log odds, for T = 1 it is the plain divergence.

    Args:
        teacher: log odds of face against background, any shape.
        student: the same of the student.
        temperature: T, above 0.
    """
    # Over two classes softmax is the logistic function of the difference of the logits.
    teacher, student = teacher / temperature, student / temperature
    share = teacher.sigmoid()
    face = share * (F.logsigmoid(teacher) - F.logsigmoid(student))
    background = (1 - share) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return temperature**2 * (face + background)


def box_term(regression: Tensor, taught: SoftTargets) -> Tensor:
    """Mean smooth L1, summed over the four offsets, over anchors in which the teacher sees a face.

    An anchor weighs the teacher's face probability.

    Args:
        regression: B x A x 4, the student's.
        taught: the teacher's word.
    """
    error = F.smooth_l1_loss(regression.float(), taught.regression, reduction="none").sum(-1)
    return _weighted_mean(error, taught.face)


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over B pictures of the weighted mean over A anchors; both B x A.

    A picture whose weights sum to less than one anchor's counts less.
    """
    return ((values * weight).sum(1) / weight.sum(1).clamp(min=1)).mean()


def feature_term(maps: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Mean squared difference of maps, each channel relative to the teacher's power in it.

    Every picture, level and channel counts alike; maps of zeros would give 1
    at most.

    Args:
        maps: the student's at the teacher's width, finest first, B x C x H x W.
        wanted: the teacher's.
    """
    errors = []
    for x, y in zip(maps, wanted, strict=True):
        y = y.float()
        power = y.square().mean((2, 3))
        scale = power + WEAK_CHANNEL * power.mean(1, keepdim=True)
        errors.append(((x.float() - y).square().mean((2, 3)) / scale.clamp(min=TINY)).mean())
    return torch.stack(errors).mean()
