from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from extd.training.checkpoint import TrainState, new_state
from extd.training.optimizers import (
    GAIN,
    ConvolutionMuon,
    lr_at,
    move_weights,
    set_modes,
    update_average,
)
from extd.training.recipe import Optimizer, Recipe

CPU = torch.device("cpu")
Change = Callable[..., Recipe]


@pytest.fixture
def state(recipe: Recipe, change: Change) -> Callable[..., TrainState]:
    def make(name: str, *, channels_last: bool = True) -> TrainState:
        chosen = change(
            recipe,
            optimizer={"name": name, "lr": 1e-2},
            compute={"channels_last": channels_last},
        )
        return new_state(chosen, CPU)

    return make


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (
            {"schedule": "cosine", "warmup": 10},
            {0: 0.1, 9: 1.0, 10: 1.0, 55: 0.5, 100: 0.0},
        ),
        ({"milestones": (10, 20)}, {0: 1, 9: 1, 10: 0.1, 19: 0.1, 20: 0.01, 99: 0.01}),
        (
            {"schedule": "wsd", "warmup": 4, "decay": 0.5},
            {0: 0.25, 4: 1, 50: 1, 75: 0.5, 99: 0.02},
        ),
    ],
)
def test_schedules(settings: dict[str, Any], rates: dict[int, float]) -> None:
    optimizer = Optimizer(lr=1.0, **settings)
    assert [lr_at(step, 100, optimizer) for step in rates] == pytest.approx([*rates.values()])


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_every_weight_is_moved_once(state: Callable[..., TrainState], name: str) -> None:
    trained = state(name)
    moved = [p for o in trained.optimizers for group in o.param_groups for p in group["params"]]
    weights = dict(trained.network.named_parameters())
    assert sum(p.numel() for p in moved) == sum(p.numel() for p in weights.values())
    before = copy.deepcopy(weights)
    torch.manual_seed(0)
    for parameter in weights.values():
        parameter.grad = torch.randn_like(parameter)
    for optimizer in trained.optimizers:
        optimizer.step()
    for key, parameter in weights.items():
        assert not torch.equal(parameter, before[key]), key
    for optimizer in trained.optimizers:
        optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in weights.values())


@pytest.mark.parametrize("channels_last", [False, True])
def test_muon_turns_a_gradient_into_nearly_orthogonal_rows(channels_last: bool) -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(8, 4, 3, 3))
    if channels_last:
        kernel = nn.Parameter(kernel.data.contiguous(memory_format=torch.channels_last))
    muon = ConvolutionMuon([kernel], lr=1.0, momentum=0.0, weight_decay=0.0)
    kernel.grad = torch.randn(8, 4, 3, 3) * torch.logspace(-2, 0, 8).view(-1, 1, 1, 1)
    direction = kernel.grad.clone()
    muon.step()
    step = kernel.detach().flatten(1)
    # AdamW's steps have a root mean square of about 0.2, whatever the gradient's scale.
    assert step.square().mean().sqrt().item() == pytest.approx(0.2 * GAIN, rel=0.3)
    singular = torch.linalg.svdvals(step)
    assert singular.max() < 2 * singular.min()
    assert (step * direction.flatten(1)).sum() < 0


def test_the_memory_format_does_not_change_the_step(state: Callable[..., TrainState]) -> None:
    stepped = []
    for channels_last in (False, True):
        trained = state("muon", channels_last=channels_last)
        for index, parameter in enumerate(trained.network.parameters()):
            generator = torch.Generator().manual_seed(index)
            # As autograd does, in the format of the weights.
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        for optimizer in trained.optimizers:
            optimizer.step()
        stepped.append([p.detach() for p in trained.network.parameters()])
    for one, other in zip(*stepped, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_muon_leaves_the_image_and_the_heads_to_adamw(state: Callable[..., TrainState]) -> None:
    muon, _ = state("muon").optimizers
    shapes = {tuple(p.shape) for p in muon.param_groups[0]["params"]}
    assert shapes == {(32, 16 * 9), (32, 32 * 9), (32, 32)}


def test_the_average_follows_the_network() -> None:
    average, network = nn.Linear(2, 2), nn.Linear(2, 2)
    nn.init.zeros_(average.weight)
    nn.init.ones_(network.weight)
    update_average(average, network, 1000, 0.9)
    assert average.weight.mean().item() == pytest.approx(0.1)
    update_average(average, network, 1000, 0.0)
    assert torch.equal(average.weight, network.weight)


def test_weights_move_a_share_of_the_way() -> None:
    own, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    other.weight.data += 1
    assert other.num_batches_tracked is not None
    other.num_batches_tracked += 5
    move_weights(own, other, 0.25)
    assert own.weight.tolist() == [1.25, 1.25]
    assert own.num_batches_tracked == 5


def test_frozen_norms_use_the_averaged_statistics_and_still_learn(
    state: Callable[..., TrainState],
) -> None:
    trained = state("sgd")
    network, average = trained.network, trained.average
    network.train()(torch.rand(2, 3, 128, 128) * 255)
    norm, mean = (
        next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
        for net in (network, average)
    )
    set_modes(network, average, 3, 5)
    learns = [norm.training]
    assert not torch.equal(norm.running_mean, mean.running_mean)
    set_modes(network, average, 4, 5)
    learns.append(norm.training)
    assert network.training
    assert learns == [True, False]
    network(torch.rand(2, 3, 128, 128) * 255).logits.sum().backward()
    assert torch.equal(norm.running_mean, mean.running_mean)
    assert norm.weight.grad is not None
    assert norm.weight.grad.any()
