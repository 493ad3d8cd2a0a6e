"""All that a run needs to go on, saved and restored as one."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from extd.catalog import find_weights, load_catalog
from extd.files import atomic_write
from extd.models.checkpoint import load_network, load_torch_file, save_network
from extd.models.network import TorchNetwork, build_network
from extd.training.objective import Objective
from extd.training.optimizers import build_optimizers
from extd.training.recipe import Augmentation, Distillation, Loss, Optimizer, Recipe
from extd.training.teacher import Teacher

STEP_FACTOR = 0.1
FIXED = (
    *("model", "network", "seed", "batch", "augmentation", "loss", "distillation"),
    *("optimizer", "ema", "freeze_norms"),
)
"""What a resumed run may not change. Iterations may, to make a run longer or shorter."""
SETTINGS = {
    "augmentation": Augmentation,
    "loss": Loss,
    "distillation": Distillation,
    "optimizer": Optimizer,
}
"""Those of them that have keys of their own."""


@dataclass(slots=True)
class State:
    """A run between two steps.

    Attributes:
        objective: what the optimiser moves: the network and what serves its training alone.
        average: the network's moving average, the weights that are exported.
        optimizers: with their momenta; each moves its share of the weights.
        scaler: of the loss, for fp16.
        data: fingerprint of the pictures.
        feed: `cpu` or `device`, which makes the crops.
        step: how many steps were made.
        precision: `fp32`, `bf16` or `fp16`, once it is decided.
        earlier: the training that the weights of `Recipe.init` had, in words.
        sides: of the crops so far, px.
    """

    objective: Objective
    average: TorchNetwork
    optimizers: list[torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    data: str
    feed: str
    step: int = 0
    precision: str = ""
    earlier: str = ""
    sides: set[int] = field(default_factory=set)

    @property
    def network(self) -> TorchNetwork:
        """The network in training."""
        return self.objective.network


def new_state(
    recipe: Recipe,
    device: torch.device,
    data: str = "",
    feed: str = "cpu",
    teacher: Teacher | None = None,
) -> State:
    """A run before its first step; `data` and `feed` as of `State`."""
    torch.manual_seed(recipe.seed)
    network = build_network(recipe.config)
    earlier = begin_with(network, recipe.init) if recipe.init else ""
    objective = Objective(network, recipe, teacher).to(device)
    if recipe.compute.channels_last:
        objective = objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(objective.network).eval().requires_grad_(False)
    optimizers = build_optimizers(objective, recipe.optimizer, device)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.compute.precision == "fp16")
    return State(objective, average, optimizers, scaler, data, feed, earlier=earlier)


def begin_with(network: TorchNetwork, weights: str) -> str:
    """Load `weights`, as of `Recipe.init`; the training that they had, in words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: they are of another network.
    """
    path = Path(weights)
    if not path.suffix:
        path = find_weights(weights, load_catalog()).with_suffix(".safetensors")
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
    return str(notes.get("training", ""))


def rate_at(step: int, iterations: int, settings: Optimizer) -> float:
    """The learning rate of step number `step` of `iterations`."""
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    if settings.schedule == "wsd":
        begin = round(iterations * (1 - settings.decay))
        return settings.rate * min(1, (iterations - step) / max(iterations - begin, 1))
    if settings.schedule == "cosine":
        share = (step - settings.warmup) / max(iterations - settings.warmup, 1)
        return settings.rate * (1 + math.cos(math.pi * share)) / 2
    return settings.rate * STEP_FACTOR ** sum(step >= m for m in settings.milestones)


def set_modes(state: State, recipe: Recipe) -> None:
    """Training mode, with the batch norms' running statistics in force once they are frozen."""
    frozen = recipe.freeze_norms > 0 and state.step >= recipe.freeze_norms - 1
    if frozen and state.step == recipe.freeze_norms - 1:
        settle_norms(state)
    state.objective.train()
    if frozen:
        for norm in _norms(state.objective):
            norm.eval()


def settle_norms(state: State) -> None:
    """Give the network the averaged running statistics, before they are frozen.

    Its own follow the last few batches alone, and the last pass through F most.
    """
    for norm, averaged in zip(_norms(state.network), _norms(state.average), strict=True):
        norm.load_state_dict({**norm.state_dict(), **dict(averaged.named_buffers())})


def _norms(module: nn.Module) -> list[nn.Module]:
    # SyncBatchNorm, too, is a batch norm, though no BatchNorm2d.
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def update_average(state: State, decay: float) -> None:
    """Move the average towards the network; early on it follows faster."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    averages, values = (list(m.state_dict().values()) for m in (state.average, state.network))
    with torch.no_grad():
        moved = [(a, v) for a, v in zip(averages, values, strict=True) if a.is_floating_point()]
        # One call for all: hundreds of small ones cost a CPU more than the arithmetic.
        torch._foreach_lerp_([a for a, _ in moved], [v for _, v in moved], 1 - decay)
        for average, value in zip(averages, values, strict=True):
            if not average.is_floating_point():
                average.copy_(value)


def save(state: State, recipe: Recipe, out: Path) -> None:
    """Write `checkpoint.pt` and the average as `weights.safetensors`, each whole or not at all."""
    content = {
        "recipe": _fixed(recipe),
        "data": state.data,
        "feed": state.feed,
        "step": state.step,
        "precision": state.precision,
        "objective": state.objective.state_dict(),
        "average": state.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "scaler": state.scaler.state_dict(),
        "earlier": state.earlier,
        "sides": sorted(state.sides),
    }
    crops = state.step * recipe.batch
    sides = ", ".join(map(str, sorted(state.sides)))
    sources = [name for dataset in recipe.data.sets for name in dataset.sources]
    notes: dict[str, object] = {
        "training_data": ", ".join(sources)
        or ", ".join(Path(s.path).name for s in recipe.data.sets),
        "training": f"{state.step} steps, {crops} crops of {sides} px"
        + (f", after {state.earlier}" if state.earlier else ""),
        "data_fingerprint": state.data,
    }
    # The checkpoint takes its name last: a run killed in between makes its last steps again.
    with atomic_write(out / "checkpoint.pt") as partial:
        torch.save(content, partial)
        save_network(state.average, out / "weights.safetensors", notes)


def _fixed(recipe: Recipe) -> dict[str, Any]:
    """The part of the recipe that a resumed run may not change."""
    values = dataclasses.asdict(recipe)
    teacher = Path(recipe.distillation.teacher)
    if teacher.is_file():
        values["distillation"]["teacher"] = hashlib.sha256(teacher.read_bytes()).hexdigest()
    mixture = [(dataset.weight, dataset.sources) for dataset in recipe.data.sets]
    # Muon's momenta lie in the order of the memory of its kernels.
    layout = {"compute.channels_last": recipe.compute.channels_last}
    return {**{key: values[key] for key in FIXED}, **layout, "data.sets": mixture}


def restore(state: State, path: Path, recipe: Recipe) -> None:
    """Load `path` into `state`.

    Raises:
        ValueError: it is no checkpoint of this program, or was made by another recipe in a way
            that matters.
    """
    content = load_torch_file(path)
    if not {"recipe", "data", "feed", "step", "precision"} <= content.keys() or not (
        SETTINGS.keys() <= content["recipe"].keys()
    ):
        raise ValueError(f"{path} is no checkpoint of extd train; it holds {sorted(content)}")
    wanted = {**_fixed(recipe), "pictures of fingerprint": state.data, "feed": state.feed}
    # A key that was unknown when the run began had no effect: its default has none.
    defaults = {key: dataclasses.asdict(settings()) for key, settings in SETTINGS.items()}
    found = {
        **content["recipe"],
        **{key: values | content["recipe"][key] for key, values in defaults.items()},
        "pictures of fingerprint": content["data"],
        "feed": content["feed"],
    }
    for key, value in found.items():
        if wanted.get(key) != value:
            raise ValueError(
                f"{path} was made with {key} {value}, now it is {wanted.get(key)}; "
                "resume with the recipe.yaml beside the checkpoint, and the same labels"
            )
    state.objective.load_state_dict(content["objective"], strict=True)
    state.average.load_state_dict(content["average"], strict=True)
    for optimizer, saved in zip(state.optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    if content["scaler"]:  # of a run in another precision it is empty
        state.scaler.load_state_dict(content["scaler"])
    state.step, state.precision = content["step"], content["precision"]
    state.earlier = content.get("earlier", state.earlier)
    state.sides = set(content.get("sides", recipe.augmentation.crops))
