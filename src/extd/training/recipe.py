"""A training run as one value, read from a YAML file."""

from __future__ import annotations

import dataclasses
import difflib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from extd.models.config import parse_name


@dataclass(frozen=True, slots=True)
class Data:
    """Which pictures to learn from.

    Attributes:
        labels: a `labels.jsonl`; picture paths in it are relative to its folder. A relative
            path here is relative to the recipe's folder.
        sources: how often a picture of each source is drawn, relative to the others; a source
            that is not named is left out. Empty: all pictures alike.
    """

    labels: str
    sources: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """S3FD's augmentation, at any crop size.

    Attributes:
        crop: side of the square crops, px; a multiple of 128 gives whole cells at every level.
        anchor_sampling: probability of data-anchor-sampling; the other crops are random squares.
        square: range of the random square's side, as shares of the picture's short side.
        whole: probability that a random square is the whole short side.
        color: distort brightness, contrast, saturation and hue, each with probability 0.5.
        horizontal_flip: probability of mirroring.
        vertical_flip: probability of turning upside down. The paper lists it; off by default,
            because upside-down faces are rare in use and cost accuracy on upright ones.
        min_face: faces whose shorter side is below this, in crop px, are ignored in the loss.
    """

    crop: int = 640
    anchor_sampling: float = 0.5
    square: tuple[float, float] = (0.3, 1.0)
    whole: float = 0.2
    color: bool = True
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    min_face: float = 6.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Matching and loss (section 3.4, equation 3).

    Attributes:
        match_iou: anchors of at least this IoU with a face are positive.
        compensate_iou: a face with few anchors also takes its best ones above this IoU.
        compensation: `face` brings each poor face to the mean count (S3FD); `pooled` takes the
            best anchors of all faces together, as the authors' code does.
        negatives: kept negatives for each positive, the hardest of each picture.
        box_weight: the weight of the box loss (the paper's lambda).
        normalizer: `paper` divides the class loss by positives and kept negatives; `released`
            by positives alone, as the authors' code does.
    """

    match_iou: float = 0.35
    compensate_iou: float = 0.1
    compensation: Literal["face", "pooled"] = "face"
    negatives: int = 3
    box_weight: float = 4.0
    normalizer: Literal["paper", "released"] = "paper"


@dataclass(frozen=True, slots=True)
class Optimizer:
    """How weights move.

    Attributes:
        kind: `sgd` (the paper) or `adamw`.
        rate: peak learning rate.
        momentum: of SGD.
        weight_decay: L2 for SGD, decoupled for AdamW; biases, norms and slopes have none in AdamW.
        schedule: `step` divides the rate by 10 at each milestone, `cosine` takes it to zero.
        milestones: iterations at which `step` divides.
        warmup: iterations of linear warm-up.
        clip: largest norm of the gradient; 0 for none.
    """

    kind: Literal["sgd", "adamw"] = "sgd"
    rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = ()
    warmup: int = 0
    clip: float = 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights of a run.

    Attributes:
        model: a model name.
        iterations: optimiser steps.
        batch: crops a step.
        seed: of the initial weights and of every crop.
        ema: decay of the moving average of the weights that is exported; 0 for none.
        freeze_norms: iteration from which batch norms use their running statistics, as they do
            after training; 0 for never. The passes through F share one set of statistics but
            differ in a training batch, and this makes training see what detection will do.
        precision: `auto` times fp32 and bf16 autocast at the start and takes the faster.
        compile: use torch.compile; it pays on long runs.
        save_every: iterations between checkpoints.
    """

    model: str
    data: Data
    iterations: int
    batch: int = 16
    seed: int = 0
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    ema: float = 0.0
    freeze_norms: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    save_every: int = 1000

    def __post_init__(self) -> None:
        parse_name(self.model)
        if self.iterations < 1 or self.batch < 1 or self.save_every < 1:
            raise ValueError(
                "iterations, batch and save_every must be 1 or more, not "
                f"{self.iterations}, {self.batch}, {self.save_every}"
            )
        shapes, loss, optimizer = self.augmentation, self.loss, self.optimizer
        for name, value, right, range_ in (
            ("ema", self.ema, 0 <= self.ema < 1, "0 to below 1"),
            ("freeze_norms", self.freeze_norms, self.freeze_norms >= 0, "0 or more"),
            ("augmentation.crop", shapes.crop, shapes.crop >= 128, "128 px or more"),
            (
                "augmentation.square",
                shapes.square,
                0 < shapes.square[0] <= shapes.square[1] <= 1,
                "two shares of the short side, the smaller first",
            ),
            *(
                (
                    f"augmentation.{key}",
                    getattr(shapes, key),
                    0 <= getattr(shapes, key) <= 1,
                    "0 to 1",
                )
                for key in ("anchor_sampling", "whole", "horizontal_flip", "vertical_flip")
            ),
            ("loss.negatives", loss.negatives, loss.negatives >= 1, "1 or more"),
            ("loss.match_iou", loss.match_iou, 0 < loss.match_iou < 1, "between 0 and 1"),
            ("loss.box_weight", loss.box_weight, loss.box_weight >= 0, "0 or more"),
            ("optimizer.rate", optimizer.rate, optimizer.rate > 0, "above 0"),
            ("optimizer.warmup", optimizer.warmup, optimizer.warmup >= 0, "0 or more"),
            ("optimizer.clip", optimizer.clip, optimizer.clip >= 0, "0 or more"),
        ):
            if not right:
                raise ValueError(f"{name} is {value}; give {range_}")


def load_recipe(path: Path, labels: Path | None = None) -> Recipe:
    """Read a recipe; see the files in `recipes/`.

    Args:
        path: YAML file.
        labels: label file to take instead of the recipe's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key or value is wrong; the message names it, the file and the nearest key.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    try:
        recipe: Recipe = _build(Recipe, content, "")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    chosen = (labels or path.parent / recipe.data.labels).resolve()
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, labels=str(chosen)))


def _build(kind: Any, value: Any, where: str) -> Any:
    """`value` from YAML as an instance of the annotated type `kind`."""
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin is Literal:
        if value in get_args(kind):
            return value
        raise ValueError(f"{where} is {value!r}; choose one of {', '.join(get_args(kind))}")
    if origin in (Union, types.UnionType):
        return None if value is None else _build(get_args(kind)[0], value, where)
    if origin is tuple and isinstance(value, list | tuple):
        inner = get_args(kind)
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise ValueError(f"{where} has {len(value)} values; it takes {len(inner)}")
        return tuple(_build(inner[0], item, where) for item in value)
    if origin is dict and isinstance(value, dict):
        return {str(k): _build(get_args(kind)[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3, without a point, as text
        except ValueError:
            pass
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise ValueError(f"{where} is {value!r}, which is not a {getattr(kind, '__name__', kind)}")


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the recipe'} must be a mapping, not {value!r}")
    known = get_type_hints(kind)
    required = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    dot = f"{where}." if where else ""
    for key in value:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0)[0]
            raise ValueError(f"there is no key {dot}{key}; did you mean {dot}{nearest}?")
    for key in required:
        if key not in value:
            raise ValueError(f"the key {dot}{key} is missing")
    return kind(**{key: _build(known[key], item, dot + key) for key, item in value.items()})
