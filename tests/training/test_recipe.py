from __future__ import annotations

import dataclasses

import pytest

from extd.models.config import ExtdConfig
from extd.training.recipe import (
    Augmentation,
    Compute,
    Data,
    DataSet,
    Distillation,
    Loss,
    Optimizer,
    Recipe,
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "extd-fpn-33-prelu"}, "did you mean 'extd-fpn-32-prelu'"),
        ({"iterations": 0}, "iterations is 0; give 1 or more"),
        ({"ema": 1.0}, "ema is 1.0; give 0 to below 1"),
        ({"data": Data(())}, r"data.sets is \[\]; give one set"),
        ({"data": Data((DataSet("a"), DataSet("b", 0.0)))}, "data.sets.1.weight is 0.0"),
        ({"data": Data((DataSet("a", sources={"b": -1.0}),))}, "sources.b is -1.0; give 0 or more"),
        ({"optimizer": Optimizer(momentum=5.0)}, "optimizer.momentum is 5.0; give 0 to below 1"),
        ({"data": Data((DataSet("a"),), 2.0)}, "data.max_unreadable is 2.0; give 0 to 1"),
        ({"augmentation": Augmentation(crops=(256, 64))}, r"augmentation.crops is \[256, 64\]"),
        ({"augmentation": Augmentation(crops=())}, r"augmentation.crops is \[\]"),
        ({"augmentation": Augmentation(square=(0.5, 0.2))}, "augmentation.square"),
        ({"augmentation": Augmentation(whole=2.0)}, "augmentation.whole is 2.0; give 0 to 1"),
        (
            {"augmentation": Augmentation(zoom_out=0.6)},
            "anchor_sampling, size_sampling, zoom_out, unscaled is 1.1; give 0 to 1",
        ),
        ({"augmentation": Augmentation(face_sizes=(500.0, 0.5))}, "augmentation.face_sizes"),
        ({"augmentation": Augmentation(most_enlarged=0.0)}, "most_enlarged is 0.0"),
        ({"loss": Loss(negatives=0)}, "loss.negatives is 0"),
        (
            {"network": ExtdConfig(anchor_scale=8.0)},
            "loss.assignment is s3fd; give atss or simota where anchor_scale is above 4",
        ),
        ({"loss": Loss(size_ratio=1.2)}, "loss.size_ratio is 1.2; give 0, or 1.5 or more"),
        ({"loss": Loss(match_iou=1.0)}, "loss.match_iou is 1.0"),
        ({"distillation": Distillation(threshold=1.0)}, "distillation.threshold is 1.0"),
        ({"distillation": Distillation(box_weight=-1.0)}, "distillation.box_weight is -1.0"),
        ({"optimizer": Optimizer(rate=0.0)}, "optimizer.rate is 0.0; give above 0"),
        ({"compute": Compute(accumulate=3)}, "accumulate is 3; give a divisor of the batch of 4"),
    ],
)
def test_values_that_cannot_be_are_named(
    recipe: Recipe, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(recipe, **change)


def test_shares_that_add_up_to_one_are_taken(recipe: Recipe) -> None:
    parts = {"anchor_sampling": 0.05, "size_sampling": 0.55, "zoom_out": 0.3, "unscaled": 0.1}
    assert sum(parts.values()) > 1
    dataclasses.replace(recipe, augmentation=Augmentation(**parts))
