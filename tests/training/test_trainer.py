from __future__ import annotations

import csv
import dataclasses
import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from extd.models.checkpoint import load_network
from extd.models.config import parse_name
from extd.models.extd import Extd
from extd.training import trainer
from extd.training.recipe import Data, Optimizer, Recipe, load_recipe
from extd.training.state import State, new_state, rate_at, set_modes, settle_norms
from extd.training.trainer import train


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_network(run / "weights.safetensors")[0].state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def losses(run: Path) -> list[float]:
    with (run / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_a_resumed_run_equals_an_uninterrupted_one(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, freeze_norms=5)
    cache = tmp_path / "cache"
    train(recipe, tmp_path / "whole", device="cpu", threads=1, cache=cache)

    class StopError(Exception):
        pass

    def stop_at_four(state: State, decay: float) -> None:
        if state.step == 4:
            raise StopError
        update(state, decay)

    update = trainer.update_average
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "update_average", stop_at_four)
        with pytest.raises(StopError):
            train(recipe, tmp_path / "halved", device="cpu", threads=1, cache=cache)
    train(recipe, tmp_path / "halved", resume=True, device="cpu", threads=1, cache=cache)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "halved"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "halved")
    assert len(losses(tmp_path / "whole")) == recipe.iterations


def test_a_resumed_run_keeps_the_precision_that_was_timed(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = dataclasses.replace(recipe, precision="auto", iterations=1)
    train(timed, tmp_path / "run", device="cpu", cache=tmp_path)
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["precision"]
    assert kept in trainer.PRECISIONS

    def fail(*_: object) -> str:
        raise AssertionError("timed again")

    monkeypatch.setattr(trainer, "choose_precision", fail)
    longer = dataclasses.replace(timed, iterations=2)
    train(longer, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)


def test_the_loss_falls_on_a_task_that_can_be_learnt(recipe: Recipe, tmp_path: Path) -> None:
    faster = dataclasses.replace(recipe.optimizer, rate=5e-3)
    recipe = dataclasses.replace(recipe, iterations=60, save_every=60, optimizer=faster)
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    curve = losses(tmp_path / "run")
    assert np.mean(curve[-5:]) < 0.75 * np.mean(curve[:5])


def test_the_run_folder_reproduces_the_run(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "a" / "run", device="cpu", cache=tmp_path)
    again = load_recipe(tmp_path / "a" / "run" / "recipe.yaml")
    assert again == recipe
    assert "6 steps" in str(load_network(tmp_path / "a" / "run" / "weights.safetensors")[1])


def test_a_run_is_not_overwritten_and_not_resumed_by_another_recipe(
    recipe: Recipe, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(recipe, iterations=1)
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    with pytest.raises(FileExistsError, match="--resume"):
        train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    sources = Data(recipe.data.labels, {"odd": 1.0})
    for other, message in (
        (dataclasses.replace(recipe, batch=2), "made with batch 4, the recipe says 2"),
        (dataclasses.replace(recipe, data=sources), r"made with data.sources \{\}"),
    ):
        with pytest.raises(ValueError, match=message):
            train(other, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a PyTorch checkpoint"):
        train(recipe, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)


def test_a_loss_that_is_not_finite_stops_with_the_pictures(recipe: Recipe, tmp_path: Path) -> None:
    hot = dataclasses.replace(recipe, optimizer=Optimizer("sgd", rate=1e30), iterations=20)
    with pytest.raises(ValueError, match=r"the loss of step \d+ is .*\.png"):
        train(hot, tmp_path / "run", device="cpu", cache=tmp_path)


def test_a_signal_ends_the_run_with_a_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, iterations=100, save_every=100)
    update = trainer.update_average

    def signal_at_three(state: State, decay: float) -> None:
        update(state, decay)
        if state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "update_average", signal_at_three)
        train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    steps = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"]
    assert steps == 4
    assert len(losses(tmp_path / "run")) == steps


def test_frozen_norms_use_running_statistics_and_still_learn(recipe: Recipe) -> None:
    network = Extd(parse_name(recipe.model))
    recipe = dataclasses.replace(recipe, freeze_norms=5)

    def modes() -> set[bool]:
        return {m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d)}

    set_modes(network, 4, recipe)
    assert modes() == {True}
    set_modes(network, 5, recipe)
    assert modes() == {False}
    assert network.training
    before = network.backbone.stem[1].running_mean.clone()
    network(torch.rand(2, 3, 128, 128) * 255).logits.sum().backward()
    assert torch.equal(network.backbone.stem[1].running_mean, before)
    assert network.backbone.stem[1].weight.grad.abs().sum() > 0


def test_norms_are_frozen_at_their_averages(recipe: Recipe) -> None:
    state = new_state(recipe, torch.device("cpu"))
    state.network.train()(torch.rand(2, 3, 128, 128) * 255)
    network, average = state.network.backbone.stem[1], state.average.backbone.stem[1]
    assert not torch.equal(network.running_mean, average.running_mean)
    weight = network.weight.clone()
    settle_norms(state)
    assert torch.equal(network.running_mean, average.running_mean)
    assert torch.equal(network.running_var, average.running_var)
    assert torch.equal(network.weight, weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"device": "gpu"}, "device 'gpu' does not work here"),
    ],
)
def test_a_machine_that_is_not_there_is_named(
    recipe: Recipe, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(recipe, tmp_path / "run", cache=tmp_path, **change)


@pytest.mark.parametrize(("step", "rate"), [(0, 0.1), (9, 1.0), (10, 1.0), (55, 0.5), (100, 0.0)])
def test_cosine_with_warm_up(step: int, rate: float) -> None:
    settings = Optimizer(rate=1.0, schedule="cosine", warmup=10)
    assert rate_at(step, 100, settings) == pytest.approx(rate, abs=1e-9)


def test_steps_divide_by_ten_at_each_milestone() -> None:
    settings = Optimizer(rate=1.0, milestones=(10, 20))
    rates = [rate_at(step, 30, settings) for step in (0, 9, 10, 19, 20, 29)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_gap_between_the_modes_is_reported(recipe: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(recipe, iterations=1), tmp_path / "run", device="cpu", cache=tmp_path)
    network, _ = load_network(tmp_path / "run" / "weights.safetensors")
    norm = network.backbone.stem[1]
    assert isinstance(norm.running_var, torch.Tensor)
    norm.running_var.mul_(1e-4)
    pictures = trainer.read_labels(Path(recipe.data.labels))
    store = trainer.open_store(pictures, tmp_path)
    batch = next(trainer.batches(0, recipe, store, trainer.sampling_shares(pictures, {})))
    console = Console(record=True, file=io.StringIO())
    anchors = trainer.anchor_boxes(128, 128)
    before = norm.running_mean.clone()
    trained, evaluated = trainer.compare_modes(network, batch, anchors, recipe, console)
    assert evaluated > trainer.MODE_GAP * trained
    assert "freeze_norms" in console.export_text()
    assert torch.equal(norm.running_mean, before)  # comparing leaves no trace
