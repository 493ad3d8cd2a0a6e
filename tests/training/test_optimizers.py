from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from extd.training.objective import Objective
from extd.training.state import new_state
from torch import nn

from extd.training.optimizers import GAIN, ConvolutionMuon, build_optimizers
from extd.training.recipe import Optimizer, Recipe

CPU = torch.device("cpu")


def objective(recipe: Recipe, settings: Optimizer, *, channels_last: bool = True) -> Objective:
    compute = dataclasses.replace(recipe.compute, channels_last=channels_last)
    recipe = dataclasses.replace(
        recipe, model="extd-lite-nano", optimizer=settings, compute=compute
    )
    return new_state(recipe, CPU).objective


@pytest.mark.parametrize("kind", ["sgd", "adamw", "muon"])
def test_every_weight_is_moved_once(recipe: Recipe, kind: str) -> None:
    settings = Optimizer(kind, rate=1e-2)  # type: ignore[arg-type]
    trained = objective(recipe, settings)
    optimizers = build_optimizers(trained, settings, CPU)
    moved = [p for o in optimizers for group in o.param_groups for p in group["params"]]
    assert sum(p.numel() for p in moved) == sum(p.numel() for p in trained.parameters())
    before = copy.deepcopy(dict(trained.named_parameters()))
    torch.manual_seed(0)
    for parameter in trained.parameters():
        parameter.grad = torch.randn_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    for name, parameter in trained.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    for optimizer in optimizers:
        optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in trained.parameters())


@pytest.mark.parametrize("channels_last", [False, True])
def test_muon_turns_a_gradient_into_nearly_orthogonal_rows(channels_last: bool) -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(8, 4, 3, 3))
    if channels_last:
        kernel = nn.Parameter(kernel.data.contiguous(memory_format=torch.channels_last))
    muon = ConvolutionMuon([kernel], rate=1.0, momentum=0.0, weight_decay=0.0)
    kernel.grad = torch.randn(8, 4, 3, 3) * torch.logspace(-2, 0, 8).view(-1, 1, 1, 1)
    direction = kernel.grad.clone()
    muon.step()
    step = kernel.detach().flatten(1)
    # AdamW's steps have a root of the mean square of about 0.2, whatever the gradient's scale.
    assert step.square().mean().sqrt().item() == pytest.approx(0.2 * GAIN, rel=0.3)
    singular = torch.linalg.svdvals(step)
    assert singular.max() < 2 * singular.min()
    assert (step * direction.flatten(1)).sum() < 0


def test_the_format_in_memory_does_not_change_the_step(recipe: Recipe) -> None:
    settings = Optimizer("muon", rate=1e-2)
    stepped = []
    for channels_last in (False, True):
        trained = objective(recipe, settings, channels_last=channels_last)
        for index, parameter in enumerate(trained.parameters()):
            generator = torch.Generator().manual_seed(index)
            # As autograd does, in the format of the weights.
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        for optimizer in build_optimizers(trained, settings, CPU):
            optimizer.step()
        stepped.append([p.detach() for p in trained.parameters()])
    for one, other in zip(*stepped, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_muon_leaves_the_image_the_heads_and_depthwise_kernels_to_adamw(recipe: Recipe) -> None:
    settings = Optimizer("muon")
    trained = objective(recipe, settings)
    muon, _ = build_optimizers(trained, settings, CPU)
    shapes = {tuple(p.shape) for p in muon.param_groups[0]["params"]}
    assert shapes == {(32, 16 * 9), (32, 32 * 9), (32, 32)}
