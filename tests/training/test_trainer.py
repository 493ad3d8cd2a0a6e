from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from extd import signals
from extd.catalog import shipped_recipes
from extd.models.network import load_network
from extd.training import checkpoint, cost, trainer
from extd.training.checkpoint import TrainState, choose_precision, new_state
from extd.training.distributed import Distributed
from extd.training.image_cache import open_images
from extd.training.loader import Batch, open_loader
from extd.training.metrics import read_columns
from extd.training.optimizers import update_average
from extd.training.recipe import Recipe, dump_recipe, load_recipe
from extd.training.trainer import (
    compare_modes,
    mode_check_step,
    train,
    train_step,
)

CPU = torch.device("cpu")
ALONE = Distributed(0, 1, CPU)
Change = Callable[..., Recipe]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_network(run / "weights.safetensors")[0].state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def losses(run: Path) -> list[float]:
    return read_columns(run / "log.csv")["loss"]


def saved_step(run: Path) -> int:
    return int(torch.load(run / "checkpoint.pt", weights_only=True)["step"])


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Calls a function in the middle of a step, counted from 0."""
    update = update_average

    def call(number: int, function: Callable[[], None]) -> None:
        def patched(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
            if step == number:
                function()
            update(average, network, step, decay)

        monkeypatch.setattr(trainer, "update_average", patched)

    return call


AtStep = Callable[[int, Callable[[], None]], None]


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    recipe: Recipe, change: Change, at_step: AtStep, tmp_path: Path, name: str
) -> None:
    """Weights, averages, momenta, schedule, sampler and augmentation go on as they were."""
    recipe = change(recipe, freeze_bn_at=5, optimizer={"name": name})
    cache = tmp_path / "cache"
    train(recipe, tmp_path / "whole", device="cpu", threads=1, cache=cache)

    class StopError(Exception):
        pass

    def stop() -> None:
        raise StopError

    at_step(4, stop)
    with pytest.raises(StopError):
        train(recipe, tmp_path / "halved", device="cpu", threads=1, cache=cache)
    at_step(-1, stop)
    assert saved_step(tmp_path / "halved") == 3
    train(recipe, tmp_path / "halved", resume=True, device="cpu", threads=1, cache=cache)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "halved"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "halved")
    assert len(losses(tmp_path / "whole")) == recipe.iterations
    ends = [torch.load(tmp_path / run / "checkpoint.pt") for run in ("whole", "halved")]
    moments = [
        [
            value
            for optimizer in end["optimizers"]
            for state in optimizer["state"].values()
            for value in state.values()
        ]
        for end in ends
    ]
    assert len(moments[0]) > 0
    assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True))


def test_a_resumed_run_keeps_the_precision_that_was_timed(
    recipe: Recipe, change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = change(recipe, compute={"precision": "auto"}, iterations=1)
    train(timed, tmp_path / "run", device="cpu", cache=tmp_path)
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["precision"]
    assert kept in {"fp32", "bf16"}

    def fail(*_: object) -> str:
        raise AssertionError("timed again")

    monkeypatch.setattr(checkpoint, "choose_precision", fail)
    longer = change(timed, iterations=2)
    train(longer, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)
    origin = json.loads((tmp_path / "run" / "origin.json").read_text(encoding="utf-8"))
    told = [(process["from_step"], process["precision"]) for process in origin["processes"]]
    assert told == [(0, kept), (1, kept)]


def test_a_resumed_run_does_not_need_the_weights_that_it_began_with(
    recipe: Recipe, change: Change, tmp_path: Path
) -> None:
    recipe = change(recipe, iterations=1)
    first = train(recipe, tmp_path / "first", device="cpu", cache=tmp_path)
    begun = change(recipe, init=str(first))
    train(begun, tmp_path / "run", device="cpu", cache=tmp_path)
    first.unlink()
    longer = change(begun, iterations=2)
    _, notes = load_network(
        train(longer, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)
    )
    assert str(notes["training"]).startswith("2 steps")
    assert "after 1 steps" in str(notes["training"])


def test_a_finished_run_is_left_as_it_is(
    recipe: Recipe, change: Change, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = change(recipe, iterations=1)
    path = train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    kept = {file: file.read_bytes() for file in path.parent.glob("*.*")}
    again = train(recipe, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)
    assert again == path
    assert kept == {file: file.read_bytes() for file in path.parent.glob("*.*")}
    assert "already has all 1 steps" in capsys.readouterr().err


def test_the_loss_falls_on_a_task_that_can_be_learnt(
    recipe: Recipe, change: Change, tmp_path: Path
) -> None:
    recipe = change(recipe, iterations=60, save_every=60, optimizer={"lr": 5e-3})
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    curve = losses(tmp_path / "run")
    assert np.mean(curve[-5:]) < 0.75 * np.mean(curve[:5])


def test_the_run_folder_tells_all_about_the_run(
    recipe: Recipe, change: Change, labels: Path, tmp_path: Path
) -> None:
    run = tmp_path / "a" / "run"
    recipe = change(recipe, validation={"path": str(labels), "every": 4})
    train(recipe, run, device="cpu", cache=tmp_path, profile=2)
    assert load_recipe(run / "recipe.yaml") == recipe
    notes = load_network(run / "weights.safetensors")[1]
    assert "6 steps, 24 crops of 128 px" in str(notes)
    origin = json.loads((run / "origin.json").read_text(encoding="utf-8"))
    assert origin["images"] == 6
    assert origin["data"] == notes["data_fingerprint"]
    (process,) = origin["processes"]
    assert process["git"] is None or len(process["git"].rstrip("+")) == 40
    assert (process["from_step"], process["precision"]) == (0, "fp32")
    assert read_columns(run / "validation.csv")["step"] == [4, 6]
    log = read_columns(run / "log.csv")
    assert log["seconds"] == sorted(log["seconds"])
    assert all(0 <= w <= s for w, s in zip(log["waited"], log["seconds"], strict=True))
    assert (run / "curves.png").stat().st_size > 10_000
    assert json.loads((run / "profile.json").read_text(encoding="utf-8"))["traceEvents"]
    assert any((run / "events").iterdir())
    assert not [path.name for path in run.rglob("*partial*")]


def test_a_run_is_not_overwritten(recipe: Recipe, change: Change, tmp_path: Path) -> None:
    recipe = change(recipe, iterations=1)
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    with pytest.raises(FileExistsError, match="--resume"):
        train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="weights without a checkpoint"):
            train(recipe, tmp_path / "run", resume=resume, device="cpu", cache=tmp_path)


def test_a_loss_that_is_not_finite_stops_with_the_images_and_keeps_the_checkpoint(
    recipe: Recipe, change: Change, at_step: AtStep, tmp_path: Path
) -> None:
    hot = change(recipe, optimizer={"name": "sgd", "lr": 1e30, "warmup": 0}, iterations=20)
    with pytest.raises(ValueError, match=r"the loss of step \d+ is .*\.png"):
        train(hot, tmp_path / "run", device="cpu", cache=tmp_path)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_checkpoint(
    recipe: Recipe,
    change: Change,
    at_step: AtStep,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    def twice_at_once() -> None:
        """As `timeout` does, which signals a process and its group."""
        signal.raise_signal(number)
        signal.raise_signal(number)

    recipe = change(recipe, iterations=100, save_every=100)
    # On a busy machine the second signal may come late.
    monkeypatch.setattr(signals, "REPEAT_SECONDS", 60.0)
    # A job in the background of a script ignores SIGINT, and its tests inherit that.
    before = signal.signal(number, signal.default_int_handler)
    at_step(3, twice_at_once)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    finally:
        signal.signal(number, before)
    assert saved_step(tmp_path / "run") == 4
    assert len(losses(tmp_path / "run")) == 4


@pytest.mark.parametrize("place", ["step", "validation", "loader"])
def test_a_second_signal_ends_the_run_at_once(
    recipe: Recipe,
    change: Change,
    labels: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    place: str,
) -> None:
    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it went on")

    monkeypatch.setattr(signals, "REPEAT_SECONDS", -1.0)
    # On a busy machine, closing takes its time.
    monkeypatch.setattr(signals, "EXIT_SECONDS", 600.0)
    name = {"step": "update_average", "validation": "detect_exported", "loader": "set_modes"}
    monkeypatch.setattr(trainer, name[place], interrupt)
    recipe = change(recipe, validation={"path": str(labels), "every": 1})
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


STUCK = """
import signal, sys, time
from extd.cli.app import run
from extd.training import trainer

def step(*_):
    print("in the first step", file=sys.stderr, flush=True)
    while True:  # as a compiler that catches every error
        try:
            time.sleep(600)
        except BaseException:
            pass

trainer.train_step = step
# Background jobs of a shell ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
run()
"""


def test_two_signals_end_a_process_that_is_stuck_in_its_first_step(
    recipe: Recipe, tmp_path: Path
) -> None:
    _, _, *arguments = command(recipe, tmp_path / "r", "--out", str(tmp_path / "run"))
    program = [sys.executable, "-c", STUCK, *arguments]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "in the first step" in line:
                process.send_signal(signal.SIGINT)
            if "a second signal stops at once" in line:
                break
        assert process.poll() is None
        time.sleep(2 * signals.REPEAT_SECONDS)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_stages_follow_one_another(recipe: Recipe, change: Change, tmp_path: Path) -> None:
    stages = ({"iterations": 2}, {"iterations": 3, "loss": {"regression": "eiou"}})
    recipe = change(recipe, stages=stages)
    path = train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    assert path == tmp_path / "run" / "weights.safetensors"
    notes = load_network(path)[1]
    assert notes["training"] == ("3 steps, 12 crops of 128 px, after 2 steps, 8 crops of 128 px")
    assert saved_step(tmp_path / "run" / "stage1") == 2
    with pytest.raises(FileExistsError, match="stage1 holds a run"):
        train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    # A run that ended in the second stage goes on there.
    (tmp_path / "run" / "checkpoint.pt").unlink()
    path.unlink()
    first = (tmp_path / "run" / "stage1" / "checkpoint.pt").stat().st_mtime_ns
    train(recipe, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)
    assert saved_step(tmp_path / "run") == 3
    assert (tmp_path / "run" / "stage1" / "checkpoint.pt").stat().st_mtime_ns == first


def test_a_signal_in_the_last_step_of_a_stage_stops_before_the_next(
    recipe: Recipe, change: Change, at_step: AtStep, tmp_path: Path
) -> None:
    recipe = change(recipe, stages=({"iterations": 2}, {"iterations": 3}))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    at_step(1, lambda: signal.raise_signal(signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert saved_step(tmp_path / "run" / "stage1") == 2
    assert not (tmp_path / "run" / "log.csv").exists()


def test_the_recipe_of_a_staged_run_makes_all_stages_again(
    recipe: Recipe, change: Change, tmp_path: Path
) -> None:
    recipe = change(recipe, stages=({"iterations": 1}, {"iterations": 2, "ema": 0.5}))
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    written = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert written == recipe
    train(written, tmp_path / "again", device="cpu", cache=tmp_path)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "again"))
    assert load_recipe(tmp_path / "run" / "stage1" / "recipe.yaml").iterations == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ({}, {"data": {"sets": [{"path": "/no/labels"}]}})}, "/no/labels"),
        ({"stages": ({}, {"validation": {"path": "/no/test.jsonl"}})}, "/no/test.jsonl"),
        ({"init": "/no/weights.safetensors"}, "/no/weights.safetensors"),
    ],
)
def test_files_that_are_missing_are_named_before_images_are_decoded(
    recipe: Recipe, change: Change, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        train(change(recipe, **changes), tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def command(recipe: Recipe, folder: Path, *more: str) -> list[str]:
    """Arguments of a process that trains `recipe`."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    options = ("--device", "cpu", "--threads", "1", "--cache", str(folder / "cache"))
    return ["-m", "extd", "train", str(folder / "recipe.yaml"), *options, *more]


def test_a_killed_run_goes_on_as_if_nothing_had_been(
    recipe: Recipe, change: Change, tmp_path: Path
) -> None:
    recipe = change(recipe, iterations=40, save_every=1)
    out, log = tmp_path / "run", tmp_path / "run" / "log.csv"
    arguments = [sys.executable, *command(recipe, tmp_path / "r"), "--resume", "--out", str(out)]
    for rows in (3, 8):
        process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if log.exists() and log.read_text().count("\n") > rows:
                process.kill()
            time.sleep(0.01)
        assert process.returncode == -signal.SIGKILL
    subprocess.run(arguments, check=True, capture_output=True)
    train(recipe, tmp_path / "whole", device="cpu", threads=1, cache=tmp_path / "r" / "cache")
    assert same(weights(out), weights(tmp_path / "whole"))
    assert losses(out) == losses(tmp_path / "whole")


def together(commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Exit codes, output and errors of processes that train one network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    group = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **address, "WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, arguments in zip("01", commands, strict=True)
    ]
    ended = [process.communicate(timeout=300) for process in group]
    return [(process.returncode, *told) for process, told in zip(group, ended, strict=True)]


def test_two_processes_learn_as_one_does(recipe: Recipe, change: Change, tmp_path: Path) -> None:
    """From a step on at which norms are frozen: else each process sees half of a batch."""
    recipe = change(recipe, freeze_bn_at=2, loss={"box_weight": 1.0})
    one, two, cache = tmp_path / "one", tmp_path / "two", tmp_path / "r" / "cache"
    begun = change(recipe, iterations=1)
    train(begun, one, device="cpu", threads=1, cache=cache)
    shutil.copytree(one, two)
    whole = change(recipe, compute={"accumulate": 2})
    train(whole, one, resume=True, device="cpu", threads=1, cache=cache)
    arguments = command(recipe, tmp_path / "r", "--resume", "--out", str(two))
    for (code, told, errors), talks in zip(together([arguments] * 2), (True, False), strict=True):
        assert code == 0, errors
        assert ("written" in told) == talks
    assert len(losses(two)) == recipe.iterations
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)


def test_a_machine_without_the_checkpoint_is_told(
    recipe: Recipe, change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = change(recipe, iterations=1)
    train(begun, tmp_path / "one", device="cpu", threads=1, cache=tmp_path)
    for name, own, first in (("two", 0, 1), ("one", 1, 0)):
        monkeypatch.setattr(Distributed, "broadcast", lambda self, value, first=first: first)
        with pytest.raises(ValueError, match=f"this one at {own}, the first at {first}; give"):
            train(recipe, tmp_path / name, resume=True, device="cpu", threads=1, cache=tmp_path)
    assert saved_step(tmp_path / "one") == 1


def test_processes_with_different_recipes_are_told(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One would end earlier than the other, which would wait for it."""
    monkeypatch.setattr(Distributed, "broadcast", lambda _, value: min(value, 99))
    with pytest.raises(ValueError, match="different recipes; give every machine the same"):
        train(recipe, tmp_path / "run", device="cpu", threads=1, cache=tmp_path)


@pytest.mark.parametrize("name", ["muon", "sgd"])
def test_the_cost_is_told_before_the_first_step_and_changes_nothing(
    recipe: Recipe,
    change: Change,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    recipe = change(
        recipe, iterations=2, compute={"compile": "auto"}, optimizer={"name": name, "lr": 0.1}
    )
    train(recipe, tmp_path / "untold", device="cpu", threads=1, cache=tmp_path)
    assert "about" not in capsys.readouterr().err
    monkeypatch.setattr(cost, "SHORT_RUN", 0)
    train(recipe, tmp_path / "told", device="cpu", threads=1, cache=tmp_path)
    told = capsys.readouterr().err
    assert re.search(r"about \d+ (s|min): 2 steps of [\d.]+ s; [\d.]+ GB of memory", told)
    assert "not compiled: that pays from about 2 h on" in told
    assert same(weights(tmp_path / "told"), weights(tmp_path / "untold"))
    assert losses(tmp_path / "told") == losses(tmp_path / "untold")


def test_a_compiler_that_is_missing_is_named(
    recipe: Recipe, change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiled = change(recipe, compute={"compile": True})
    with pytest.raises(ValueError, match="compile needs the C\\+\\+ compiler no-such-compiler"):
        train(compiled, tmp_path / "b", device="cpu", cache=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"device": "gpu"}, "device 'gpu' does not work here"),
    ],
)
def test_a_machine_that_is_not_there_is_named(
    recipe: Recipe, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(recipe, tmp_path / "run", cache=tmp_path, **options)


@pytest.fixture
def first_batch(tmp_path: Path) -> Callable[[Recipe], Batch]:
    """The first batch of a recipe."""

    def make(recipe: Recipe) -> Batch:
        images = open_images(recipe.data, tmp_path / "cache", Console(quiet=True))
        with closing(open_loader(recipe, images, ALONE)) as batches:
            return next(batches)

    return make


MakeBatch = Callable[[Recipe], Batch]


def fresh(recipe: Recipe) -> TrainState:
    state = new_state(recipe, CPU)
    state.precision = "fp32"
    state.network.train()
    return state


def test_a_batch_in_parts_gives_the_same_gradient(
    recipe: Recipe, change: Change, first_batch: MakeBatch
) -> None:
    batch = first_batch(recipe)

    def gradients(recipe: Recipe) -> list[Tensor]:
        state = fresh(recipe)
        state.network.eval()  # norms of a part see the part alone
        train_step(state.network, batch, state, recipe, ALONE, 0.0)
        return [p.grad for p in state.network.parameters() if p.grad is not None]

    parts = change(recipe, compute={"accumulate": 2})
    for a, b in zip(gradients(recipe), gradients(parts), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * a.abs().max().item() + 1e-7)


def test_a_step_reports_the_parts_of_its_loss(recipe: Recipe, first_batch: MakeBatch) -> None:
    state, batch = fresh(recipe), first_batch(recipe)
    (weight,) = (w for name, w in state.network.named_parameters() if name == "heads.conv.weight")
    before = weight.clone()
    metrics, stopped = train_step(state.network, batch, state, recipe, ALONE, 1e-3, stop=True)
    assert metrics.loss == pytest.approx(metrics.classes + metrics.boxes + metrics.landmarks)
    assert metrics.positives == int((batch.targets.face >= 0).sum()) > 0
    assert stopped
    assert not torch.equal(before, weight)


def test_a_gap_between_the_modes_is_reported(recipe: Recipe, first_batch: MakeBatch) -> None:
    state = fresh(recipe)
    norm = next(m for m in state.network.modules() if isinstance(m, nn.BatchNorm2d))
    for one in state.network.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_var.fill_(1e-3)
    console = Console(record=True, file=io.StringIO())
    before = norm.running_mean.clone()
    trained, evaluated = compare_modes(state, first_batch(recipe), recipe, console)
    assert evaluated > trainer.MODE_GAP * trained
    assert "freeze_bn_at" in console.export_text()
    assert torch.equal(norm.running_mean, before)  # comparing leaves no trace


def test_modes_are_compared_once_statistics_are_settled(recipe: Recipe, change: Change) -> None:
    long = change(recipe, iterations=900)
    for changes, step in (
        ({"save_every": 3}, 100),
        ({"save_every": 300}, 300),
        ({"save_every": 3, "iterations": 99}, 0),
        ({"save_every": 300, "freeze_bn_at": 200}, 0),
    ):
        assert mode_check_step(change(long, **changes)) == step


def test_fp16_needs_cuda(recipe: Recipe, change: Change) -> None:
    half = change(recipe, compute={"precision": "fp16"})
    with pytest.raises(ValueError, match="fp16 needs CUDA, not cpu"):
        choose_precision(half, new_state(half, CPU).network, CPU)


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_make_two_steps(
    name: str, change: Change, labels: Path, tmp_path: Path
) -> None:
    """On images of other sources than theirs."""
    shipped = load_recipe(Path(name), [labels])
    changes = {"iterations": 2, "batch": 2, "compute": {"precision": "fp32", "compile": False}}
    small = {"crop_sizes": (128,)}
    recipe = change(
        shipped,
        stages=[{**stage, **changes} for stage in shipped.stages],
        augmentation=small,
        **changes,
    )
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
