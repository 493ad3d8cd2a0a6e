"""The state of a run between two steps: made, saved and restored as one."""

from __future__ import annotations

import copy
import dataclasses
import json
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from extd.catalog import find_weights, load_catalog
from extd.files import atomic_write
from extd.models.config import parse_name
from extd.models.network import (
    TorchNetwork,
    build_network,
    load_network,
    load_torch_file,
    save_network,
)
from extd.training.distributed import Distributed
from extd.training.optimizers import build_optimizers
from extd.training.recipe import Recipe, parse_recipe

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
"""The averaged weights with the highest AP on the validation images."""
FIXED = ["network", "seed", "batch", "augmentation", "loss", "optimizer", "ema", "freeze_bn_at"]
"""What a resumed run may not change. Iterations may, to make a run longer or shorter."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
INITIAL_NOTES = ("training", "training_data", "license")


class Stopped(KeyboardInterrupt):
    """A signal ended a run after a step, with a checkpoint."""


@dataclass(slots=True)
class TrainState:
    """A run between two steps."""

    network: TorchNetwork
    average: TorchNetwork  # moving average of the weights, which is exported
    optimizers: list[torch.optim.Optimizer]  # each for its share of the weights
    scaler: torch.amp.GradScaler  # of the loss, for fp16
    data: str  # fingerprint of the images
    feed: str  # `cpu` or `device`, which cuts the crops
    step: int = 0  # steps made so far
    precision: str = ""  # `fp32`, `bf16` or `fp16`, once it is decided
    initial: dict[str, str] = field(default_factory=dict)  # notes on the weights of `Recipe.init`
    crop_sizes: set[int] = field(default_factory=set)  # so far, px
    sources: frozenset[str] = frozenset()  # of the images


def new_state(
    recipe: Recipe, device: torch.device, data: str = "", feed: str = "cpu"
) -> TrainState:
    """A run before its first step; `data` and `feed` as in `TrainState`."""
    torch.manual_seed(recipe.seed)
    network = build_network(recipe.config)
    initial = load_init(network, recipe.init) if recipe.init else {}
    network = network.to(device)
    if recipe.compute.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizers = build_optimizers(network, recipe.optimizer, device)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.compute.precision == "fp16")
    return TrainState(network, average, optimizers, scaler, data, feed, initial=initial)


def find_initial(weights: str) -> Path:
    """The file that `Recipe.init` means.

    Raises:
        ValueError: no weights of that name ship.
    """
    if Path(weights).suffix:
        return Path(weights)
    return Path(str(find_weights(weights, load_catalog()))).with_suffix(".safetensors")


def load_init(network: TorchNetwork, weights: str) -> dict[str, str]:
    """Load `weights`, as in `Recipe.init`, into `network`; return their `INITIAL_NOTES`."""
    try:
        path = find_initial(weights)
    except ValueError as error:
        raise ValueError(f"init: {error}; or remove init, to begin from scratch") from None
    found, notes = load_network(path)
    if found.config != network.config:
        raise ValueError(
            f"init: {weights} is {found.config.name}, the recipe trains {network.config.name}; "
            f"give network: {dataclasses.asdict(found.config)} to train it"
        )
    network.load_state_dict(found.state_dict())
    return {key: str(notes[key]) for key in INITIAL_NOTES if key in notes}


def open_state(recipe: Recipe, out: Path, data: str, feed: str, dist: Distributed) -> TrainState:
    """A fresh run, or the one whose checkpoint is in `out`, alike in all processes.

    Raises:
        ValueError: the checkpoint does not fit, or processes differ in step or recipe.
    """
    path = out / CHECKPOINT
    # The checkpoint has all weights: those of `init` need not be there any more.
    initial = recipe.model_copy(update={"init": ""}) if path.exists() else recipe
    state = new_state(initial, dist.device, data, feed)
    if path.exists():
        restore(state, path, recipe)
    first = dist.broadcast(state.step)
    if dist.any(state.step != first):
        raise ValueError(
            f"the processes are at different steps, this one at {state.step}, the first at "
            f"{first}; give every machine the first one's {path}"
        )
    # Else one would end earlier and leave the others waiting.
    digest = zlib.crc32(json.dumps(_without_paths(recipe)).encode())
    if dist.any(digest != dist.broadcast(digest)):
        raise ValueError("the processes have different recipes; give every machine the same")
    # What was timed once stays, so that a resumed run computes alike; a recipe may insist.
    if recipe.compute.precision != "auto" or not state.precision:
        names = list(PRECISIONS)
        chosen = names.index(choose_precision(recipe, state.network, dist.device))
        state.precision = names[dist.broadcast(chosen)]
    return state


def choose_precision(recipe: Recipe, network: nn.Module, device: torch.device) -> str:
    """The recipe's precision; for `auto`, the faster one here, timed on a few steps."""
    wanted = recipe.compute.precision
    if wanted == "fp16" and device.type != "cuda":
        raise ValueError(f"precision fp16 needs CUDA, not {device.type}; take bf16 or auto")
    if wanted != "auto":
        return wanted
    seconds = {}
    size = recipe.augmentation.crop_sizes[0]
    images = torch.zeros(4, 3, size, size, device=device)
    for name in ("fp32", "bf16"):
        probe = copy.deepcopy(network).train()
        for _ in range(3):  # the last of three counts: the first ones warm up
            began = time.perf_counter()
            with torch.autocast(device.type, PRECISIONS[name], enabled=name != "fp32"):
                predictions = probe(images)
            loss = predictions.logits.float().mean() + predictions.regression.float().mean()
            loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name] = time.perf_counter() - began
    return min(seconds, key=lambda name: seconds[name])


def save(state: TrainState, recipe: Recipe, out: Path) -> None:
    """Write `checkpoint.pt` and the average as `weights.safetensors`, each whole or not at all."""
    content = {
        "recipe": json.dumps(_without_paths(recipe)),
        "data": state.data,
        "feed": state.feed,
        "step": state.step,
        "precision": state.precision,
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "scaler": state.scaler.state_dict(),
        "initial": state.initial,
        "crop_sizes": sorted(state.crop_sizes),
    }
    # The checkpoint takes its name last: a run killed in between makes its last steps again.
    with atomic_write(out / CHECKPOINT) as partial:
        torch.save(content, partial)
        save_network(state.average, out / WEIGHTS, _notes(state, recipe))


def save_best(state: TrainState, recipe: Recipe, out: Path) -> None:
    """Write the average as `best.safetensors`."""
    save_network(state.average, out / BEST, _notes(state, recipe))


def _notes(state: TrainState, recipe: Recipe) -> dict[str, object]:
    """What a weights file says about its training."""
    sources = [name for name in recipe.data.sources if name in state.sources]
    # Images of other sources are those of sets that are used as a whole.
    whole = not recipe.data.sources or not state.sources <= recipe.data.sources.keys()
    for dataset in recipe.data.sets:
        sources += [name for name, share in dataset.sources.items() if share > 0]
        sources += [Path(dataset.path).name] if whole and not dataset.sources else []
    sizes = ", ".join(map(str, sorted(state.crop_sizes)))
    training = f"{state.step} steps, {state.step * recipe.batch} crops of {sizes} px"
    if "training_data" in state.initial:
        sources += state.initial["training_data"].split(", ")
    if "training" in state.initial:
        training += f", after {state.initial['training']}"
    about: dict[str, object] = {
        "training_data": ", ".join(dict.fromkeys(sources)),
        "training": training,
        "data_fingerprint": state.data,
    }
    if "license" in state.initial:
        about["license"] = state.initial["license"]
    return about


def _without_paths(recipe: Recipe) -> dict[str, Any]:
    """What a resumed run is compared with. Paths would tell strangers about this machine."""
    content = recipe.model_dump(mode="json", exclude={"init", "validation", "stages"})
    for dataset in content["data"]["sets"]:
        dataset["path"] = ""
    return content


def restore(state: TrainState, path: Path, recipe: Recipe) -> None:
    """Load `path`; a ValueError names what of the recipe may not have changed since."""
    content = load_torch_file(path)
    try:
        # Keys that were unknown when the run began get their defaults, which change nothing.
        before = parse_recipe(json.loads(content["recipe"]))
        initial = content["initial"]
    except (KeyError, TypeError, ValueError) as error:
        what = "not a checkpoint of this version of extd train"
        raise ValueError(f"{path} is {what}: {error}") from error
    wanted = _fixed(recipe, state.data, state.feed)
    for key, value in _fixed(before, content["data"], content["feed"]).items():
        if wanted[key] != value:
            raise ValueError(
                f"{path} was made with {key} {value}, now it is {wanted[key]}; "
                "resume with the recipe.yaml beside the checkpoint, and the same labels"
            )
    state.network.load_state_dict(content["network"], strict=True)
    state.average.load_state_dict(content["average"], strict=True)
    for optimizer, saved in zip(state.optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    if content["scaler"]:  # of a run in another precision it is empty
        state.scaler.load_state_dict(content["scaler"])
    state.step, state.precision = content["step"], content["precision"]
    state.crop_sizes = set(content["crop_sizes"])
    state.initial = initial


def _fixed(recipe: Recipe, data: str, feed: str) -> dict[str, Any]:
    """What a resumed run may not change."""
    return {
        **{key: getattr(recipe, key) for key in FIXED},
        "model": parse_name(recipe.model).name,
        # Muon's momenta lie in the order of the memory of its kernels.
        "compute.channels_last": recipe.compute.channels_last,
        "data.sets": [(dataset.weight, dataset.sources) for dataset in recipe.data.sets],
        "data.sources": recipe.data.sources,
        "images of fingerprint": data,
        "feed": feed,
    }
