"""A training run as one value, read from and written to YAML."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from extd.catalog import RECIPES, nearest_name, shipped_recipes
from extd.models.config import NetworkConfig, parse_name

Share = Annotated[float, Field(ge=0, le=1)]
Above0 = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[float, Field(ge=0)]
Below1 = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, strict=True)]
Number = Annotated[int, Field(ge=0, strict=True)]


def check_keys(content: Iterable[str], known: Collection[str]) -> None:
    """Raise a ValueError that names the first unknown key and the nearest known one."""
    for key in content:
        if key not in known:
            advice = nearest_name(str(key), known, f"there are {', '.join(known)}")
            raise ValueError(f"there is no key {key}; {advice}")


class _Section(BaseModel):
    """Frozen values; unknown keys are errors. The docstrings of fields go into the JSON schema."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, content: Any) -> Any:
        if isinstance(content, dict):
            check_keys(content, cls.model_fields)
        return content


class DataSet(_Section):
    """One dataset of labeled images."""

    path: str
    """What `extd data check` reads; relative to the recipe's folder."""
    weight: Above0 = 1.0
    """How often one of its images is drawn, relative to the other sets."""
    sources: dict[str, AtLeast0] = {}
    """The same by the source of each image; sources not named are left out. Empty: as in `data`."""


class Data(_Section):
    """Which images to learn from."""

    sets: Annotated[tuple[DataSet, ...], Field(min_length=1)]
    sources: dict[str, AtLeast0] = {}
    """For sets without `sources`: the same, but a set with none of these is used as a whole."""
    face_count_power: Share = 0.0
    """Images are drawn in proportion to their number of faces to this power, within a source."""
    max_background: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Images without faces are drawn as often as others, up to this share of the crops."""
    max_unreadable: Share = 0.01
    """Share of the images that may fail to open before the run stops."""


class Validation(_Section):
    """Which images to measure the averaged weights on during training."""

    path: str = ""
    """Labeled images, as for `data.sets`; empty for none."""
    every: Count = 1000
    """Iterations between measurements."""


class Augmentation(_Section):
    """Random crops: of four kinds by their probabilities, else S3FD's square with a face."""

    crop_sizes: Annotated[tuple[Annotated[int, Field(ge=128)], ...], Field(min_length=1)] = (640,)
    """Sides of the square crops, px; multiples of 128 give whole cells at every level."""
    crop_order: Literal["random", "growing"] = "random"
    """A random size each step, or equal parts of the run with one size after the other."""
    anchor_sampling_prob: Share = 0.5
    """Data-anchor-sampling (PyramidBox): a random face is given the size of an anchor."""
    size_sampling_prob: Share = 0.0
    """A random face is given a size drawn log-uniformly from `face_sizes`."""
    zoom_out_prob: Share = 0.0
    """The crop shows the whole image, with up to as much again around it."""
    native_scale_prob: Share = 0.0
    """The crop is cut anywhere and not scaled, with faces or without, as a detector sees it."""
    native_longest: Number = 0
    """It may be enlarged, as if the longer side of its image had up to as many px."""
    face_sizes: tuple[Above0, Above0] = (10.0, 0.8)
    """Smallest size aimed at, crop px, and the largest, as a share of the crop."""
    max_upscale: Above0 = 2.0
    """Size sampling enlarges no image by more than this factor."""
    square_range: tuple[Above0, Share] = (0.3, 1.0)
    """Side of the random square, as shares of the image's short side."""
    full_side_prob: Share = 0.2
    """The random square is as long as the short side."""
    color: bool = True
    """Distort brightness, contrast, saturation and hue, each with probability 0.5."""
    dark_prob: Share = 0.0
    """Darken the crop to a tenth to a half, where its colors are distorted."""
    horizontal_flip_prob: Share = 0.5
    vertical_flip_prob: Share = 0.0
    """The paper lists vertical flips; they cost accuracy on upright faces."""
    flip_shift: AtLeast0 = 0.0
    """How far mirrored boxes move left, px of the image. 1: labels lie half a px too far left."""
    min_face: float = 6.0
    """Faces whose shorter side is below this, crop px, are ignored in the loss."""

    @model_validator(mode="after")
    def _check(self) -> Augmentation:
        total = self.anchor_sampling_prob + self.size_sampling_prob
        total += self.zoom_out_prob + self.native_scale_prob
        if round(total, 9) > 1:
            raise ValueError(f"the probabilities of the four crops add up to {total:g}, above 1")
        if self.square_range[0] > self.square_range[1]:
            raise ValueError(f"square_range is {self.square_range}; give the smaller share first")
        if self.face_sizes[0] > self.face_sizes[1] * min(self.crop_sizes):
            raise ValueError(f"face_sizes is {self.face_sizes}; give a smaller first size, in px")
        return self


class Loss(_Section):
    """Assigner and loss (section 3.4 of the paper, equation 3). The defaults are the paper's."""

    assigner: Literal["s3fd", "simota"] = "s3fd"
    """Positive anchors: by IoU, or those that predict a face best (YOLOX, arXiv 2107.08430)."""
    match_iou: Annotated[float, Field(gt=0, lt=1)] = 0.35
    """S3FD: anchors of at least this IoU with a face are positive."""
    compensate_iou: AtLeast0 = 0.1
    """S3FD: a face with few anchors also takes its best ones above this IoU."""
    compensation: Literal["face", "pooled"] = "face"
    """S3FD: up to the mean count face by face, or the best of all faces (the authors' code)."""
    center_radius: Above0 = 0.625
    """SimOTA: how far from a face's center its anchors may lie, in anchor sides (YOLOX: 0.625)."""
    size_ratio: AtLeast0 = 0.0
    """SimOTA: how many times larger or smaller than a face its anchors may be; 0: no limit."""
    classification: Literal["cross_entropy", "quality_focal"] = "cross_entropy"
    """With mined negatives, or with the predicted box's IoU as target (arXiv 2006.04388)."""
    negatives: Count = 3
    """Cross entropy: hardest negatives kept for each positive of an image."""
    regression: Literal["smooth_l1", "eiou"] = "smooth_l1"
    """On the encoded offsets, or on the boxes (arXiv 2101.08158)."""
    box_weight: AtLeast0 = 4.0
    """Weight of the box loss, the paper's lambda."""
    landmark_weight: AtLeast0 = 1.0
    """Weight of the landmark loss, where network and labels have landmarks."""
    normalizer: Literal["paper", "released"] = "paper"
    """The class loss is divided by positives and kept negatives, or (released) by positives."""

    @model_validator(mode="after")
    def _check(self) -> Loss:
        if 0 < self.size_ratio < 1.5:
            raise ValueError("size_ratio below 1.5 leaves faces without anchors; give 0, or more")
        return self


class Optimizer(_Section):
    """How weights move."""

    name: Literal["sgd", "adamw", "muon"] = "sgd"
    """`muon`: Muon for the kernels between features, AdamW for the rest (arXiv 2502.16982)."""
    lr: Above0 = 1e-3
    """Peak learning rate."""
    momentum: Below1 = 0.9
    """Of SGD and Muon."""
    weight_decay: AtLeast0 = 5e-4
    """L2 for SGD, decoupled for AdamW, where biases, norms and slopes have none."""
    schedule: Literal["step", "cosine", "wsd"] = "step"
    """Divided by 10 at each milestone; to zero as a cosine; or warmup, stable, linear decay."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.2
    """`wsd`: share of the run, at its end, over which the learning rate goes to zero."""
    milestones: tuple[int, ...] = ()
    """`step`: iterations at which the learning rate is divided."""
    warmup: Number = 0
    """Iterations of linear warmup."""
    grad_clip: AtLeast0 = 0.0
    """Largest norm of the gradient; 0 for no limit."""


class Compute(_Section):
    """How the arithmetic is done. It decides speed, and results only to rounding."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto` times fp32 and bf16 and takes the faster; `fp16` scales the loss and needs CUDA."""
    compile: Literal["auto"] | bool = False
    """Use torch.compile; `auto`: only in runs that are long enough to make up for its minutes."""
    channels_last: bool = True
    """Memory format that CPUs and tensor cores prefer."""
    accumulate: Count = 1
    """Parts that a batch is computed in, one after the other, to save memory."""
    sync_batchnorm: bool = False
    """With several processes on CUDA, batch norms see the whole batch."""
    feed: Literal["auto", "cpu", "device"] = "auto"
    """Crops are cut by OpenCV, or on the device, which then keeps all images (`auto`: on CUDA)."""


class Recipe(_Section):
    """Everything that decides the weights of a run."""

    model: str
    """Name of a model, as `extd models` lists them."""
    network: dict[str, Any] = {}
    """Fields of the model's configuration (`extd.models.config`) to change."""
    init: str = ""
    """Weights to begin with: a `.safetensors` file, or a model whose weights ship."""
    data: Data
    iterations: Count
    """Optimizer steps."""
    batch: Count = 16
    """Crops a step, over all processes."""
    seed: Number = 0
    """Of the initial weights and of every crop."""
    ema: Below1 = 0.0
    """Decay of the moving average of the weights that is exported; 0 for none."""
    freeze_bn_at: Number = 0
    """The first step, from 1, in which batch norms use running statistics; 0 for never."""
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    validation: Validation = Validation()
    compute: Compute = Compute()
    save_every: Count = 1000
    """Iterations between checkpoints."""
    stages: tuple[dict[str, Any], ...] = ()
    """Runs in turn, each with some keys changed, from the weights of the one before."""

    @cached_property
    def config(self) -> NetworkConfig:
        """The network to train."""
        base = parse_name(self.model)
        if not self.network:
            return base
        fields = asdict(base)
        try:
            check_keys(self.network, fields)
            return TypeAdapter(type(base)).validate_python(fields | self.network)
        except ValidationError as error:
            raise ValueError(f"network: {_first_error(error)}") from None
        except ValueError as error:
            raise ValueError(f"network: {error}") from None

    @property
    def stage_recipes(self) -> tuple[Recipe, ...]:
        """The runs that this recipe stands for: itself, or one for each stage."""
        whole = self.model_dump(mode="json", exclude={"stages"}, exclude_unset=True)
        recipes = [self] if not self.stages else []
        for number, changes in enumerate(self.stages, 1):
            try:
                recipes.append(parse_recipe(_merged(whole, changes)))
            except ValueError as error:
                raise ValueError(f"stage {number}: {error}") from None
        return tuple(recipes)

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.optimizer.name == "muon" and self.compute.precision == "fp16":
            raise ValueError("compute.precision is fp16; take bf16 or fp32 with muon")
        if self.batch % self.compute.accumulate:
            raise ValueError(f"compute.accumulate does not divide the batch of {self.batch}")
        if any("stages" in stage for stage in self.stages):
            raise ValueError("a stage has stages of its own; list all stages in one place")
        if any("init" in stage for stage in self.stages[1:]):
            raise ValueError("init is for the first stage; the others go on from the one before")
        if len({stage.config for stage in self.stage_recipes}) > 1:
            raise ValueError("the stages train different networks; give all of them the same")
        return self


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        named = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in named]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key} is there twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def load_recipe(
    path: Path,
    data: Sequence[Path] = (),
    model: str | None = None,
    changes: Mapping[str, object] | None = None,
) -> Recipe:
    """Read a recipe. Its paths become absolute.

    Args:
        path: a YAML file, or the name of a recipe that ships.
        data: labeled images instead of the recipe's sets, one for each, if it names any.
        model: model to train instead of the recipe's, which also replaces a model as `init`.
        changes: values to take instead of the recipe's, by keys such as `loss.regression`.

    Raises:
        FileNotFoundError: there is no such file or recipe.
        ValueError: a key or value is wrong; the message names it, the file and the nearest key.
    """
    try:
        content = yaml.load(_find_recipe(path).read_text(encoding="utf-8"), _Loader)
        if not isinstance(content, dict):
            raise ValueError(f"the recipe must be a mapping, not {content!r}")
        for key, value in (changes or {}).items():
            change: Any = value
            for part in reversed(key.split(".")):
                change = {part: change}
            content = _merged(content, change)
        if data:  # for a recipe without sets
            content = _merged({"data": {"sets": [{"path": str(one)} for one in data]}}, content)
        recipe = parse_recipe(_with_model(content, model) if model else content)
        folder = path.parent.absolute()
        return _with_paths(recipe, lambda value: os.path.normpath(folder / value), data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _find_recipe(path: Path) -> Traversable:
    """The file `path`, or the recipe of that name in the package."""
    if path.exists() and not path.is_dir():
        return path
    names = shipped_recipes()
    if str(path) in names:
        return RECIPES / f"{path}.yaml"
    advice = f"take {path.stem}" if path.stem in names else f"there are {', '.join(names)}"
    raise FileNotFoundError(f"there is no recipe {path}; {advice}")


def dump_recipe(recipe: Recipe, folder: Path | None = None) -> str:
    """The recipe as YAML with every default, paths relative to `folder` if given."""
    if folder is not None:
        recipe = _with_paths(recipe, lambda value: os.path.relpath(value, folder))
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _with_model(content: dict[str, Any], model: str) -> dict[str, Any]:
    if content.get("network"):
        raise ValueError(f"its network is not that of {model}; take a recipe without key network")
    init = str(content.get("init", ""))
    return content | {"model": model, "init": init if Path(init).suffix else init and model}


def _with_paths(recipe: Recipe, convert: Callable[[str], str], data: Sequence[Path] = ()) -> Recipe:
    """Replace the paths of the datasets by `data`, then convert every path; stages included."""
    content = recipe.model_dump(mode="json", exclude_unset=True)
    for part in (content, *content.get("stages", ())):
        # A name without a suffix is that of a model whose weights ship.
        if Path(part.get("init", "")).suffix:
            part["init"] = convert(part["init"])
        if part.get("validation", {}).get("path"):
            part["validation"]["path"] = convert(part["validation"]["path"])
        sets = part.get("data", {}).get("sets", [])
        if data and sets and len(sets) != len(data):
            raise ValueError(f"it mixes {len(sets)} datasets; give as many, not {len(data)}")
        for number, dataset in enumerate(sets):
            dataset["path"] = str(data[number].absolute()) if data else convert(dataset["path"])
    return parse_recipe(content)


def _merged(content: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with changes, section by section: what a section does not name stays."""
    merged = dict(content) if isinstance(content, dict) else {}
    for key, value in changes.items():
        is_section = isinstance(value, dict) and key != "sources"
        merged[key] = _merged(merged.get(key), value) if is_section else value
    return merged


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """The recipe of a mapping; a ValueError gives the first error in one line."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise ValueError(_first_error(error)) from None


def _first_error(error: ValidationError) -> str:
    """Key, value and fix, in one line."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        advice = "; give --data LABELS" if key in {"data", "data.sets"} else ""
        return f"the key {key} is missing{advice}"
    if first["type"] == "value_error":
        return f"{key}: {reason}" if key else reason
    return f"{key} is {first['input']!r}; {reason[0].lower()}{reason[1:]}"
