"""The network together with what serves its training alone, and the loss of both."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from extd.models.extd import Heads, JointHeads, Predictions, build_heads
from extd.models.lite import Lite
from extd.models.network import TorchNetwork
from extd.training.distillation import FeatureAdapter, feature_adapter
from extd.training.recipe import Recipe
from extd.training.teacher import Teacher


class Outputs(NamedTuple):
    """What the losses compare.

    Attributes:
        predictions: of the heads.
        first_shot: of the second heads, which read the maps before the neck; None without them.
        maps: what the heads read, finest first, brought to a teacher's width if there is one.
    """

    predictions: Predictions
    first_shot: Predictions | None
    maps: list[Tensor]


class Objective(nn.Module):
    """A network and the parts that are thrown away after training."""

    def __init__(
        self, network: TorchNetwork, recipe: Recipe, teacher: Teacher | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.adapter: FeatureAdapter | None = None
        if teacher is not None:
            self.adapter = feature_adapter(network.config, teacher, recipe.distillation)
        # DSFD's progressive anchor loss (arXiv 1810.10220, section 3.3).
        self.first_shot: Heads | JointHeads | None = None
        if recipe.loss.progressive:
            self.first_shot = build_heads(network.config)

    def forward(self, images: Tensor) -> Outputs:
        """B x 3 x S x S, RGB of 0 to 255 in float."""
        network = self.network
        if self.first_shot is None:
            features: list[Tensor] = network.features(images)
            adapted = self.adapter(features) if self.adapter else features
            return Outputs(network.heads(features), None, adapted)
        assert not isinstance(network, Lite)
        raw: list[Tensor] = network.backbone(images - network.mean)
        maps = network.pyramid(raw)
        first_shot = self.first_shot(raw)
        predictions = network.heads(maps)
        return Outputs(predictions, first_shot, self.adapter(maps) if self.adapter else maps)
