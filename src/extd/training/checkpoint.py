"""All that a run needs to go on, saved and restored as one, and the files that explain it."""

from __future__ import annotations

import copy
import dataclasses
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import extd
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
from extd.training.recipe import Recipe, dump_recipe

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
FIXED = (
    *("model", "network", "seed", "batch", "augmentation", "loss"),
    *("optimizer", "ema", "freeze_bn_at"),
)
"""What a resumed run may not change. Iterations may, to make a run longer or shorter."""

INITIAL_NOTES = ("training", "training_data", "license")


@dataclass(slots=True)
class TrainState:
    """A run between two steps.

    Attributes:
        network: in training.
        average: the moving average of its weights, which is exported.
        optimizers: with their momenta; each updates its share of the weights.
        scaler: of the loss, for fp16.
        data: fingerprint of the images.
        feed: `cpu` or `device`, which cuts the crops.
        step: how many steps were made.
        precision: `fp32`, `bf16` or `fp16`, once it is decided.
        initial: notes of the weights of `Recipe.init`: their training, data and license.
        crop_sizes: of the crops so far, px.
    """

    network: TorchNetwork
    average: TorchNetwork
    optimizers: list[torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    data: str
    feed: str
    step: int = 0
    precision: str = ""
    initial: dict[str, str] = field(default_factory=dict)
    crop_sizes: set[int] = field(default_factory=set)


def new_state(
    recipe: Recipe, device: torch.device, data: str = "", feed: str = "cpu"
) -> TrainState:
    """A run before its first step; `data` and `feed` as of `TrainState`."""
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


def load_init(network: TorchNetwork, weights: str) -> dict[str, str]:
    """Load `weights`, as of `Recipe.init`, into `network`.

    Returns:
        Notes of the weights: those of `INITIAL_NOTES` that they have.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: they are of another network.
    """
    path = Path(weights)
    if not path.suffix:
        try:
            path = find_weights(weights, load_catalog()).with_suffix(".safetensors")
        except ValueError as error:
            raise ValueError(f"init: {error}; or remove init, to begin from scratch") from None
    found, notes = load_network(path)
    if found.config != network.config:
        differing = [
            f"{name}: {value}"
            for name, value in dataclasses.asdict(found.config).items()
            if getattr(network.config, name, None) != value
        ]
        raise ValueError(
            f"init: {weights} is {found.config.name}, the recipe trains {network.config.name}; "
            f"give network: {{{', '.join(differing)}}} to train it"
        )
    network.load_state_dict(found.state_dict())
    return {key: str(notes[key]) for key in INITIAL_NOTES if key in notes}


def open_state(recipe: Recipe, out: Path, data: str, feed: str, dist: Distributed) -> TrainState:
    """A fresh run, or the one whose checkpoint is in `out`; `data` and `feed` as of `TrainState`.

    Raises:
        ValueError: the checkpoint does not fit, or the processes have different ones.
    """
    begun = (out / CHECKPOINT).exists()
    # The checkpoint has all weights: those that the run began with need not be there any more.
    initial = recipe.model_copy(update={"init": ""}) if begun else recipe
    state = new_state(initial, dist.device, data, feed)
    if begun:
        restore(state, out / CHECKPOINT, recipe)
    first = dist.broadcast(state.step)
    if dist.sum(torch.tensor(abs(state.step - first), device=dist.device)).item():
        raise ValueError(
            f"the processes are at different steps, this one at {state.step}, the first at "
            f"{first}; give every machine the first one's {out / CHECKPOINT}"
        )
    return state


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
    sizes = ", ".join(map(str, sorted(state.crop_sizes)))
    sources: list[str] = []
    for dataset in recipe.data.sets:
        named = [name for name, share in dataset.sources.items() if share > 0]
        sources += named or [Path(dataset.path).name]
    initial = state.initial
    if "training_data" in initial:
        sources += initial["training_data"].split(", ")
    notes: dict[str, object] = {
        "training_data": ", ".join(dict.fromkeys(sources)),
        "training": f"{state.step} steps, {state.step * recipe.batch} crops of {sizes} px"
        + (f", after {initial['training']}" if "training" in initial else ""),
        "data_fingerprint": state.data,
    }
    if "license" in initial:
        notes["license"] = initial["license"]
    # The checkpoint takes its name last: a run killed in between makes its last steps again.
    with atomic_write(out / CHECKPOINT) as partial:
        torch.save(content, partial)
        save_network(state.average, out / WEIGHTS, notes)


def _without_paths(recipe: Recipe) -> dict[str, Any]:
    """What a resumed run is compared with. Paths would tell strangers about this machine."""
    content = recipe.model_dump(mode="json", exclude={"init", "validation", "stages"})
    for dataset in content["data"]["sets"]:
        dataset["path"] = ""
    return content


def restore(state: TrainState, path: Path, recipe: Recipe) -> None:
    """Load `path` into `state`.

    Raises:
        ValueError: it is not a checkpoint of this program, or was made by another recipe in a way
            that matters.
    """
    content = load_torch_file(path)
    try:
        # Keys that were unknown when the run began get their defaults, which change nothing.
        before = Recipe.model_validate_json(content["recipe"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a checkpoint of this version of extd train") from error
    wanted = {**_fixed(recipe), "images of fingerprint": state.data, "feed": state.feed}
    found = {
        **_fixed(before),
        "images of fingerprint": content["data"],
        "feed": content["feed"],
    }
    for key, value in found.items():
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
    # Older checkpoints keep the training of the initial weights alone.
    earlier = content.get("earlier")
    state.initial = content.get("initial", {"training": earlier} if earlier else {})


def _fixed(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that a resumed run may not change."""
    return {
        **{key: getattr(recipe, key) for key in FIXED},
        "model": parse_name(recipe.model).name,
        # Muon's momenta lie in the order of the memory of its kernels.
        "compute.channels_last": recipe.compute.channels_last,
        "data.sets": [(dataset.weight, dataset.sources) for dataset in recipe.data.sets],
    }


def write_run_info(
    recipe: Recipe, out: Path, state: TrainState, images: int, device: torch.device
) -> None:
    """Write `recipe.yaml`, with every default, and `origin.json`: data, program, machine, command.

    A run that goes on adds its program, machine and command to those from before.

    Args:
        recipe: what `extd train OUT/recipe.yaml` makes again, with all stages.
        out: run folder.
        state: of the run, before its next step.
        images: how many there are.
        device: where the run computes.
    """
    with atomic_write(out / "recipe.yaml") as partial:
        partial.write_text(dump_recipe(recipe, out.absolute()), encoding="utf-8")
    path = out / "origin.json"
    earlier = json.loads(path.read_text("utf-8")) if state.step and path.exists() else {}
    process = {
        "from_step": state.step,
        "extd": extd.__version__,
        "git": git_revision(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "precision": state.precision,
        "threads": torch.get_num_threads(),
        "command": shlex.join(sys.argv),
    }
    content = {
        "images": images,
        "data": state.data,
        "processes": [*earlier.get("processes", []), process],
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def git_revision() -> str | None:
    """The commit of this program's checkout, with `+` if files differ; None outside of one."""
    folder = Path(extd.__file__).parent

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    # An installed copy may lie inside the checkout of another project.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision = git("rev-parse", "HEAD")
    return revision and revision + ("+" if git("status", "--porcelain", ".") else "")
