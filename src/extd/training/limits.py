"""What the values of a recipe may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extd.training.recipe import Recipe

SAMPLINGS = ("anchor_sampling", "size_sampling", "zoom_out", "unscaled")
Limit = tuple[bool, str, object, str]
"""Whether it is kept, the key, its value, and what to give."""


def limits(recipe: Recipe) -> tuple[Limit, ...]:
    """The limits of every value of a recipe."""
    crops, loss, optimizer = recipe.augmentation, recipe.loss, recipe.optimizer
    learned, compute = recipe.distillation, recipe.compute
    return (
        (len(recipe.data.sets) > 0, "data.sets", "[]", "one set or more"),
        *(
            (dataset.weight > 0, f"data.sets.{i}.weight", dataset.weight, "above 0")
            for i, dataset in enumerate(recipe.data.sets)
        ),
        *(
            (share >= 0, f"data.sets.{i}.sources.{source}", share, "0 or more")
            for i, dataset in enumerate(recipe.data.sets)
            for source, share in dataset.sources.items()
        ),
        _share("data.max_unreadable", recipe.data.max_unreadable),
        *(
            (getattr(recipe, key) >= 1, key, getattr(recipe, key), "1 or more")
            for key in ("iterations", "batch", "save_every")
        ),
        (recipe.seed >= 0, "seed", recipe.seed, "0 or more"),
        (recipe.validation.every >= 1, "validation.every", recipe.validation.every, "1 or more"),
        (0 <= recipe.ema < 1, "ema", recipe.ema, "0 to below 1"),
        (recipe.freeze_norms >= 0, "freeze_norms", recipe.freeze_norms, "0 or more"),
        (
            min(crops.crops, default=0) >= 128,
            "augmentation.crops",
            list(crops.crops),
            "one or more sides of at least 128 px",
        ),
        (
            0 < crops.square[0] <= crops.square[1] <= 1,
            "augmentation.square",
            crops.square,
            "two shares of the short side, the smaller first",
        ),
        *(
            _share(f"augmentation.{key}", getattr(crops, key))
            for key in (*SAMPLINGS, "whole", "horizontal_flip", "vertical_flip")
        ),
        _share(
            f"the sum of augmentation's {', '.join(SAMPLINGS)}",
            round(sum(getattr(crops, key) for key in SAMPLINGS), 9),
        ),
        (
            0 < crops.face_sizes[0] <= crops.face_sizes[1] * min(crops.crops, default=0),
            "augmentation.face_sizes",
            crops.face_sizes,
            "a size in px and a larger one as a share of the crop",
        ),
        (crops.most_enlarged > 0, "augmentation.most_enlarged", crops.most_enlarged, "above 0"),
        (
            loss.assignment != "s3fd"
            or recipe.config.anchor_sizes[0] <= 4 * recipe.config.strides[0],
            "loss.assignment",
            "s3fd",
            "atss or simota where anchor_scale is above 4",
        ),
        (loss.negatives >= 1, "loss.negatives", loss.negatives, "1 or more"),
        (0 < loss.match_iou < 1, "loss.match_iou", loss.match_iou, "between 0 and 1"),
        (loss.centre > 0, "loss.centre", loss.centre, "above 0"),
        (
            loss.size_ratio == 0 or loss.size_ratio >= 1.5,
            "loss.size_ratio",
            loss.size_ratio,
            "0, or 1.5 or more, or some faces have no anchors",
        ),
        (loss.compensate_iou >= 0, "loss.compensate_iou", loss.compensate_iou, "0 or more"),
        (loss.box_weight >= 0, "loss.box_weight", loss.box_weight, "0 or more"),
        (loss.landmark_weight >= 0, "loss.landmark_weight", loss.landmark_weight, "0 or more"),
        (loss.progressive >= 0, "loss.progressive", loss.progressive, "0 or more"),
        (learned.temperature > 0, "distillation.temperature", learned.temperature, "above 0"),
        (
            0 <= learned.threshold < 1,
            "distillation.threshold",
            learned.threshold,
            "0 to below 1",
        ),
        *(
            (
                getattr(learned, key) >= 0,
                f"distillation.{key}",
                getattr(learned, key),
                "0 or more",
            )
            for key in ("class_weight", "box_weight", "feature_weight")
        ),
        (optimizer.rate > 0, "optimizer.rate", optimizer.rate, "above 0"),
        (
            optimizer.kind != "muon" or compute.precision != "fp16",
            "compute.precision",
            "fp16",
            "bf16 or fp32 with muon",
        ),
        (0 <= optimizer.momentum < 1, "optimizer.momentum", optimizer.momentum, "0 to below 1"),
        (0 < optimizer.decay <= 1, "optimizer.decay", optimizer.decay, "above 0, up to 1"),
        (optimizer.warmup >= 0, "optimizer.warmup", optimizer.warmup, "0 or more"),
        (optimizer.clip >= 0, "optimizer.clip", optimizer.clip, "0 or more"),
        (
            compute.accumulate >= 1 and recipe.batch % compute.accumulate == 0,
            "compute.accumulate",
            compute.accumulate,
            f"a divisor of the batch of {recipe.batch}",
        ),
    )


def _share(name: str, value: float) -> Limit:
    return 0 <= value <= 1, name, value, "0 to 1"
