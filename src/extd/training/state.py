"""All that a run needs to go on, saved and restored as one."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from extd.models.checkpoint import load_torch_file, save_network
from extd.models.config import parse_name
from extd.models.extd import Extd
from extd.training.recipe import Optimizer, Recipe

STEP_FACTOR = 0.1
FIXED = ("model", "seed", "batch", "augmentation", "loss", "optimizer", "ema", "freeze_norms")
"""What a resumed run may not change. Iterations may, to make a run longer or shorter."""


@dataclass(slots=True)
class State:
    """A run between two steps.

    Attributes:
        network: what the optimiser moves.
        average: its moving average, the weights that are exported.
        optimizer: with its own momenta.
        step: how many steps were made.
        precision: `fp32` or `bf16`, once it is decided.
    """

    network: Extd
    average: Extd
    optimizer: torch.optim.Optimizer
    step: int = 0
    precision: str = ""


def new_state(recipe: Recipe, device: torch.device) -> State:
    """A run before its first step."""
    torch.manual_seed(recipe.seed)
    network = Extd(parse_name(recipe.model)).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    return State(network, average, _optimizer(network, recipe.optimizer))


def _optimizer(network: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    if settings.kind == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=settings.rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.rate)


def rate_at(step: int, iterations: int, settings: Optimizer) -> float:
    """The learning rate of step number `step` of `iterations`."""
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    if settings.schedule == "cosine":
        share = (step - settings.warmup) / max(iterations - settings.warmup, 1)
        return settings.rate * (1 + math.cos(math.pi * share)) / 2
    return settings.rate * STEP_FACTOR ** sum(step >= m for m in settings.milestones)


def set_modes(network: Extd, step: int, recipe: Recipe) -> None:
    """Training mode, with the batch norms' running statistics in force once they are frozen."""
    network.train()
    if recipe.freeze_norms and step >= recipe.freeze_norms:
        for norm in _norms(network):
            norm.eval()


def settle_norms(state: State) -> None:
    """Give the network the averaged running statistics, before they are frozen.

    Its own follow the last few batches alone, and the last pass through F most.
    """
    for norm, averaged in zip(_norms(state.network), _norms(state.average), strict=True):
        norm.load_state_dict({**norm.state_dict(), **dict(averaged.named_buffers())})


def _norms(network: Extd) -> list[nn.BatchNorm2d]:
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


def update_average(state: State, decay: float) -> None:
    """Move the average towards the network; early on it follows faster."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for mean, value in zip(
            state.average.state_dict().values(), state.network.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def save(state: State, recipe: Recipe, out: Path) -> None:
    """Write `checkpoint.pt` and the average as `weights.safetensors`, each whole or not at all."""
    content = {
        "recipe": {key: dataclasses.asdict(recipe)[key] for key in FIXED},
        "sources": recipe.data.sources,
        "step": state.step,
        "precision": state.precision,
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    partial = out / "checkpoint.pt.partial"
    torch.save(content, partial)
    partial.replace(out / "checkpoint.pt")
    crops = state.step * recipe.batch
    notes: dict[str, object] = {
        "training_data": ", ".join(recipe.data.sources) or "all of the label file",
        "training": f"{state.step} steps, {crops} crops of {recipe.augmentation.crop} px",
    }
    save_network(state.average, out / "weights.safetensors", notes)


def restore(state: State, path: Path, recipe: Recipe) -> None:
    """Load `path` into `state`.

    Raises:
        ValueError: it is no checkpoint of this program, or was made by another recipe in a way
            that matters.
    """
    content = load_torch_file(path)
    if not {"recipe", "sources", "step", "precision"} <= content.keys():
        raise ValueError(f"{path} is no checkpoint of extd train; it holds {sorted(content)}")
    found = {**content["recipe"], "data.sources": content["sources"]}
    wanted = {**dataclasses.asdict(recipe), "data.sources": recipe.data.sources}
    for key, value in found.items():
        if wanted[key] != value:
            raise ValueError(
                f"{path} was made with {key} {value}, the recipe says {wanted[key]}; "
                "resume with the recipe.yaml beside the checkpoint"
            )
    state.network.load_state_dict(content["network"], strict=True)
    state.average.load_state_dict(content["average"], strict=True)
    state.optimizer.load_state_dict(content["optimizer"])
    state.step, state.precision = content["step"], content["precision"]
