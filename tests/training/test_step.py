from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from extd.training.batches import Batch, open_feed
from extd.training.distributed import Processes
from extd.training.loss import count
from extd.training.recipe import Compute, Distillation, Loss, Recipe
from extd.training.state import new_state, save, set_modes
from extd.training.step import MODE_GAP, Stepper, choose_precision, compare_modes, part_of
from extd.training.teacher import load_teacher
from extd.training.trainer import open_pictures

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)

MakeBatch = Callable[[Recipe], Batch]


@pytest.fixture
def first_batch(tmp_path: Path) -> MakeBatch:
    """The first batch of a recipe."""

    def make(recipe: Recipe) -> Batch:
        store, _ = open_pictures(recipe, tmp_path / "cache", Console(quiet=True))
        shares = torch.linspace(0, 1, len(store.pictures) + 1)[1:].double().numpy()
        return next(open_feed(recipe, store, shares, CPU, 0, 0, 1))

    return make


def gradients(recipe: Recipe, batch: Batch) -> list[Tensor]:
    state = new_state(recipe, CPU)
    state.step, state.precision = 1, "fp32"
    set_modes(state, recipe)
    Stepper(state, recipe, ALONE).step(batch, 0.0)
    return [p.grad for p in state.objective.parameters() if p.grad is not None]


def test_a_batch_in_parts_gives_the_same_gradient(recipe: Recipe, first_batch: MakeBatch) -> None:
    # Norms are frozen: those of a part see the part alone.
    recipe = dataclasses.replace(recipe, freeze_norms=1, loss=Loss(progressive=0.5))
    batch = first_batch(recipe)
    parts = dataclasses.replace(recipe, compute=Compute(precision="fp32", accumulate=2))
    whole, summed = gradients(recipe, batch), gradients(parts, batch)
    for a, b in zip(whole, summed, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * a.abs().max().item() + 1e-7)


def test_parts_of_a_batch_keep_what_belongs_together(
    recipe: Recipe, first_batch: MakeBatch
) -> None:
    batch = first_batch(recipe)
    assert part_of(batch, slice(0, 4)) is batch
    second = part_of(batch, slice(2, 4))
    assert second.paths == batch.paths[2:]
    assert torch.equal(second.images, batch.images[2:])
    assert torch.equal(second.targets.face, batch.targets.face[2:])
    both = count(part_of(batch, slice(0, 2)).targets, Loss()) + count(second.targets, Loss())
    assert torch.equal(both, count(batch.targets, Loss()))


def test_a_step_reports_the_parts_of_its_loss(recipe: Recipe, first_batch: MakeBatch) -> None:
    state = new_state(recipe, CPU)
    state.precision = "fp32"
    set_modes(state, recipe)
    before = state.network.heads.regression[0].weight.clone()
    batch = first_batch(recipe)
    report = Stepper(state, recipe, ALONE).step(batch, 1e-3, stop=True)
    assert report.loss == pytest.approx(report.classes + report.boxes)
    assert report.first_shot == report.teacher == 0
    assert report.positives == int((batch.targets.face >= 0).sum()) > 0
    assert report.stop
    assert not torch.equal(before, state.network.heads.regression[0].weight)


def test_a_teacher_and_a_first_shot_add_their_loss(
    recipe: Recipe, first_batch: MakeBatch, tmp_path: Path
) -> None:
    save(new_state(recipe, CPU), recipe, tmp_path / "teacher")
    weights = tmp_path / "teacher" / "weights.safetensors"
    recipe = dataclasses.replace(
        recipe,
        seed=1,
        loss=Loss(progressive=1.0),
        distillation=Distillation(str(weights), feature_weight=1.0),
    )
    teacher = load_teacher(weights, recipe.config, CPU)
    state = new_state(recipe, CPU, teacher=teacher)
    state.precision = "fp32"
    set_modes(state, recipe)
    stepper = Stepper(state, recipe, ALONE, teacher)
    report = stepper.step(first_batch(recipe), 1e-3)
    assert report.first_shot > 0
    assert report.teacher > 0
    assert state.objective.adapter is not None
    assert state.objective.first_shot is not None
    for part in (state.objective.adapter, state.objective.first_shot, state.network.backbone):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())


def test_a_gap_between_the_modes_is_reported(recipe: Recipe, first_batch: MakeBatch) -> None:
    state = new_state(recipe, CPU)
    norm = state.network.backbone.stem[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean.fill_(300.0)
    norm.running_var.fill_(1e-2)
    console = Console(record=True, file=io.StringIO())
    before = norm.running_mean.clone()
    stepper = Stepper(state, recipe, ALONE)
    trained, evaluated = compare_modes(stepper, first_batch(recipe), console)
    assert evaluated > MODE_GAP * trained
    assert "freeze_norms" in console.export_text()
    assert torch.equal(norm.running_mean, before)  # comparing leaves no trace


def test_fp16_needs_cuda(recipe: Recipe) -> None:
    half = dataclasses.replace(recipe, compute=Compute(precision="fp16"))
    with pytest.raises(ValueError, match="fp16 needs CUDA, not cpu"):
        choose_precision(half, new_state(half, CPU).objective, CPU)
