from __future__ import annotations

import dataclasses
import resource
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from extd.models.checkpoint import load_network
from extd.training.recipe import Compute, Data, DataSet, Distillation, Loss, Optimizer, Recipe
from extd.training.state import (
    State,
    new_state,
    rate_at,
    restore,
    save,
    set_modes,
    settle_norms,
    update_average,
)

CPU = torch.device("cpu")


def norm_modes(state: State) -> set[bool]:
    return {m.training for m in state.network.modules() if isinstance(m, nn.BatchNorm2d)}


def test_frozen_norms_use_running_statistics_and_still_learn(recipe: Recipe) -> None:
    recipe = dataclasses.replace(recipe, freeze_norms=5)
    state = new_state(recipe, CPU)
    state.step = 3
    set_modes(state, recipe)
    assert norm_modes(state) == {True}
    state.step = 4
    set_modes(state, recipe)
    assert norm_modes(state) == {False}
    assert state.network.training
    before = state.network.backbone.stem[1].running_mean.clone()
    state.network(torch.rand(2, 3, 128, 128) * 255).logits.sum().backward()
    assert torch.equal(state.network.backbone.stem[1].running_mean, before)
    assert state.network.backbone.stem[1].weight.grad.abs().sum() > 0


def test_norms_are_frozen_at_their_averages(recipe: Recipe) -> None:
    state = new_state(recipe, CPU)
    state.network.train()(torch.rand(2, 3, 128, 128) * 255)
    network, average = state.network.backbone.stem[1], state.average.backbone.stem[1]
    assert not torch.equal(network.running_mean, average.running_mean)
    weight = network.weight.clone()
    settle_norms(state)
    assert torch.equal(network.running_mean, average.running_mean)
    assert torch.equal(network.running_var, average.running_var)
    assert torch.equal(network.weight, weight)


def test_the_average_follows_the_network(recipe: Recipe) -> None:
    state = new_state(recipe, CPU)
    weight = state.average.heads.regression[0].weight
    with torch.no_grad():
        state.network.heads.regression[0].weight.fill_(1.0)
        weight.fill_(0.0)
    state.step = 1000
    update_average(state, 0.9)
    assert weight.mean().item() == pytest.approx(0.1)
    update_average(state, 0.0)
    assert torch.equal(weight, torch.ones_like(weight))


@pytest.mark.parametrize(("step", "rate"), [(0, 0.1), (9, 1.0), (10, 1.0), (55, 0.5), (100, 0.0)])
def test_cosine_with_warm_up(step: int, rate: float) -> None:
    settings = Optimizer(rate=1.0, schedule="cosine", warmup=10)
    assert rate_at(step, 100, settings) == pytest.approx(rate, abs=1e-9)


def test_steps_divide_by_ten_at_each_milestone() -> None:
    settings = Optimizer(rate=1.0, milestones=(10, 20))
    rates = [rate_at(step, 30, settings) for step in (0, 9, 10, 19, 20, 29)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_saved_state_is_restored_whole(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, loss=Loss(progressive=0.5))
    state = new_state(recipe, CPU, "data", "cpu")
    state.network(torch.rand(2, 3, 128, 128)).logits.sum().backward()
    state.optimizers[0].step()
    state.step, state.precision, state.sides = 7, "fp32", {128, 192}
    save(state, recipe, tmp_path)
    again = new_state(dataclasses.replace(recipe, seed=1), CPU, "data", "cpu")
    restore(again, tmp_path / "checkpoint.pt", recipe)
    assert (again.step, again.precision, again.sides) == (7, "fp32", {128, 192})
    for name, value in state.objective.state_dict().items():
        assert torch.equal(value, again.objective.state_dict()[name]), name
    assert len(again.optimizers[0].state) == len(state.optimizers[0].state) > 0


def test_a_run_may_go_on_in_another_precision(recipe: Recipe, tmp_path: Path) -> None:
    save(new_state(recipe, CPU), recipe, tmp_path)
    half = dataclasses.replace(recipe, compute=Compute(precision="fp16"))
    restore(new_state(half, CPU), tmp_path / "checkpoint.pt", half)


def test_what_a_resumed_run_may_not_change_is_named(recipe: Recipe, tmp_path: Path) -> None:
    save(new_state(recipe, CPU, "1234", "cpu"), recipe, tmp_path)
    path = tmp_path / "checkpoint.pt"
    (dataset,) = recipe.data.sets
    moved = DataSet("elsewhere/labels.jsonl")
    weighted = dataclasses.replace(dataset, weight=2.0)
    for change, data, feed, message in (
        ({"batch": 2}, "1234", "cpu", "made with batch 4, now it is 2"),
        ({"data": Data((weighted,))}, "1234", "cpu", "made with data.sets"),
        ({"loss": Loss(negatives=2)}, "1234", "cpu", "made with loss"),
        ({"distillation": Distillation("t")}, "1234", "cpu", "made with distillation"),
        (
            {"compute": dataclasses.replace(recipe.compute, channels_last=False)},
            *("1234", "cpu", "made with compute.channels_last True, now it is False"),
        ),
        ({}, "abcd", "cpu", "pictures of fingerprint 1234, now it is abcd"),
        ({}, "1234", "device", "made with feed cpu, now it is device"),
    ):
        other = dataclasses.replace(recipe, **change)
        with pytest.raises(ValueError, match=message):
            restore(new_state(other, CPU, data, feed), path, other)
    allowed = dataclasses.replace(recipe, iterations=50, data=Data((moved,)), save_every=9)
    restore(new_state(allowed, CPU, "1234", "cpu"), path, allowed)
    path.write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a PyTorch checkpoint"):
        restore(new_state(recipe, CPU), path, recipe)
    torch.save({"step": 1}, path)
    with pytest.raises(ValueError, match=r"no checkpoint of extd train; it holds \['step'\]"):
        restore(new_state(recipe, CPU), path, recipe)


def test_a_key_that_a_checkpoint_does_not_know_was_at_its_default(
    recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    save(new_state(recipe, CPU), recipe, tmp_path)
    content = torch.load(path, weights_only=True)
    del content["recipe"]["augmentation"]["unscaled"]
    torch.save(content, path)
    restore(new_state(recipe, CPU), path, recipe)
    changed = dataclasses.replace(recipe.augmentation, unscaled=0.1)
    other = dataclasses.replace(recipe, augmentation=changed)
    with pytest.raises(ValueError, match="made with augmentation"):
        restore(new_state(other, CPU), path, other)


def test_a_full_disk_keeps_the_last_files(recipe: Recipe, tmp_path: Path) -> None:
    """A limit on the size of files fails in the middle of a write, as a full disk does."""
    state = new_state(recipe, CPU)
    save(state, recipe, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    state.step = 3
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # Enough for the weights alone.
    enough = (tmp_path / "weights.safetensors").stat().st_size + 1000
    resource.setrlimit(resource.RLIMIT_FSIZE, (enough, limits[1]))
    try:
        with pytest.raises((OSError, RuntimeError)):
            save(state, recipe, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_begins_with_the_weights_that_the_recipe_names(
    recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "next").mkdir()
    first = new_state(dataclasses.replace(recipe, seed=1), CPU)
    first.step, first.sides = 2, {128, 192}
    save(first, recipe, tmp_path)
    wanted = load_network(tmp_path / "weights.safetensors")[0].state_dict()
    recipe = dataclasses.replace(recipe, init=str(tmp_path / "weights.safetensors"))
    state = new_state(recipe, CPU)
    for network in (state.network, state.average):
        assert all(torch.equal(network.state_dict()[key], wanted[key]) for key in wanted)
    state.step, state.sides = 3, {128}
    save(state, recipe, tmp_path / "next")
    told = load_network(tmp_path / "next" / "weights.safetensors")[1]["training"]
    assert told == "3 steps, 12 crops of 128 px, after 2 steps, 8 crops of 128, 192 px"
    resumed = new_state(dataclasses.replace(recipe, init=""), CPU)
    restore(resumed, tmp_path / "next" / "checkpoint.pt", recipe)
    assert resumed.earlier == state.earlier
    other = dataclasses.replace(recipe, model="extd-ssd-32-relu")
    told = r"is extd-fpn-32-relu, the recipe trains extd-ssd-32-relu; give network: {neck: fpn}"
    with pytest.raises(ValueError, match=told):
        new_state(other, CPU)


def test_a_run_begins_with_packaged_weights(recipe: Recipe) -> None:
    recipe = dataclasses.replace(recipe, model="extd-fpn-32-prelu", init="extd-fpn-32-prelu")
    fresh = new_state(dataclasses.replace(recipe, init=""), CPU)
    begun = new_state(recipe, CPU)
    assert not torch.equal(*(s.network.heads.regression[0].weight for s in (fresh, begun)))
