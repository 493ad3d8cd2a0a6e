from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from extd.training.journal import read_columns
from extd.training.recipefile import dump_recipe, load_recipe
from extd.training.state import State

from extd.models.checkpoint import load_network
from extd.training import trainer
from extd.training.distributed import Processes
from extd.training.recipe import Compute, Optimizer, Recipe, Validation
from extd.training.trainer import train


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_network(run / "weights.safetensors")[0].state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def losses(run: Path) -> list[float]:
    return read_columns(run / "log.csv")["loss"]


def saved_step(run: Path) -> int:
    return int(torch.load(run / "checkpoint.pt", weights_only=True)["step"])


@pytest.mark.parametrize("kind", ["adamw", "muon", "sgd"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    recipe: Recipe, tmp_path: Path, kind: str
) -> None:
    """Weights, averages, momenta, schedule, sampler and augmentation go on as they were."""
    optimizer = dataclasses.replace(recipe.optimizer, kind=kind)
    recipe = dataclasses.replace(recipe, freeze_norms=5, optimizer=optimizer)
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
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = dataclasses.replace(recipe, compute=Compute(precision="auto"), iterations=1)
    train(timed, tmp_path / "run", device="cpu", cache=tmp_path)
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["precision"]
    assert kept in {"fp32", "bf16"}

    def fail(*_: object) -> str:
        raise AssertionError("timed again")

    monkeypatch.setattr(trainer, "choose_precision", fail)
    longer = dataclasses.replace(timed, iterations=2)
    train(longer, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)
    origin = json.loads((tmp_path / "run" / "origin.json").read_text(encoding="utf-8"))
    told = [(process["from_step"], process["precision"]) for process in origin["processes"]]
    assert told == [(0, kept), (1, kept)]


def test_a_resumed_run_does_not_need_the_weights_that_it_began_with(
    recipe: Recipe, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(recipe, iterations=1)
    first = train(recipe, tmp_path / "first", device="cpu", cache=tmp_path)
    begun = dataclasses.replace(recipe, init=str(first))
    train(begun, tmp_path / "run", device="cpu", cache=tmp_path)
    first.unlink()
    longer = dataclasses.replace(begun, iterations=2)
    _, notes = load_network(
        train(longer, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)
    )
    assert str(notes["training"]).startswith("2 steps")
    assert "after 1 steps" in str(notes["training"])


def test_a_finished_run_is_left_as_it_is(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = dataclasses.replace(recipe, iterations=1)
    path = train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    kept = {file: file.read_bytes() for file in path.parent.glob("*.*")}
    again = train(recipe, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)
    assert again == path
    assert kept == {file: file.read_bytes() for file in path.parent.glob("*.*")}
    assert "has made its 1 steps" in capsys.readouterr().err


def test_the_loss_falls_on_a_task_that_can_be_learnt(recipe: Recipe, tmp_path: Path) -> None:
    faster = dataclasses.replace(recipe.optimizer, rate=5e-3)
    recipe = dataclasses.replace(recipe, iterations=60, save_every=60, optimizer=faster)
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    curve = losses(tmp_path / "run")
    assert np.mean(curve[-5:]) < 0.75 * np.mean(curve[:5])


def test_the_run_folder_tells_all_about_the_run(
    recipe: Recipe, labels: Path, tmp_path: Path
) -> None:
    run = tmp_path / "a" / "run"
    recipe = dataclasses.replace(recipe, validation=Validation(str(labels), every=4))
    train(recipe, run, device="cpu", cache=tmp_path, profile=2)
    assert load_recipe(run / "recipe.yaml") == recipe
    notes = load_network(run / "weights.safetensors")[1]
    assert "6 steps, 24 crops of 128 px" in str(notes)
    origin = json.loads((run / "origin.json").read_text(encoding="utf-8"))
    assert origin["pictures"] == 6
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


def test_a_run_is_not_overwritten(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, iterations=1)
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    with pytest.raises(FileExistsError, match="--resume"):
        train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="weights without a checkpoint"):
            train(recipe, tmp_path / "run", resume=resume, device="cpu", cache=tmp_path)


def test_a_loss_that_is_not_finite_stops_with_the_pictures_and_keeps_the_checkpoint(
    recipe: Recipe, tmp_path: Path
) -> None:
    good = dataclasses.replace(recipe, optimizer=Optimizer("sgd", rate=1e-3), iterations=3)
    train(good, tmp_path / "run", device="cpu", cache=tmp_path)
    kept = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    end = torch.load(tmp_path / "run" / "checkpoint.pt")
    hot = Optimizer("sgd", rate=1e30)
    end["recipe"]["optimizer"] = dataclasses.asdict(hot)
    torch.save(end, tmp_path / "run" / "checkpoint.pt")
    kept = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    longer = dataclasses.replace(recipe, optimizer=hot, iterations=20, save_every=20)
    with pytest.raises(ValueError, match=r"the loss of step \d+ is .*\.png"):
        train(longer, tmp_path / "run", resume=True, device="cpu", cache=tmp_path)
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == kept


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_checkpoint(
    recipe: Recipe, labels: Path, tmp_path: Path, number: signal.Signals
) -> None:
    validation = Validation(str(labels), every=50)
    recipe = dataclasses.replace(recipe, iterations=100, save_every=100, validation=validation)
    update = trainer.update_average

    def signal_at_three(state: State, decay: float) -> None:
        update(state, decay)
        if state.step == 3:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "update_average", signal_at_three)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", device="cpu", cache=tmp_path)
    assert saved_step(tmp_path / "run") in {4, 5}
    assert len(losses(tmp_path / "run")) == saved_step(tmp_path / "run")
    assert not read_columns(tmp_path / "run" / "validation.csv")


def command(recipe: Recipe, folder: Path, *more: str) -> list[str]:
    """Arguments of a process that trains `recipe`."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    options = ("--device", "cpu", "--threads", "1", "--cache", str(folder / "cache"))
    return ["-m", "extd", "train", str(folder / "recipe.yaml"), *options, *more]


def test_a_killed_run_goes_on_as_if_nothing_had_been(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, iterations=40, save_every=1)
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


def test_two_processes_learn_as_one_does(recipe: Recipe, tmp_path: Path) -> None:
    """From a step on at which norms are frozen: else each process sees half of a batch."""
    recipe = dataclasses.replace(recipe, freeze_norms=2)
    one, two, cache = tmp_path / "one", tmp_path / "two", tmp_path / "r" / "cache"
    begun = dataclasses.replace(recipe, iterations=1)
    train(begun, one, device="cpu", threads=1, cache=cache)
    shutil.copytree(one, two)
    halved = dataclasses.replace(recipe.compute, accumulate=2)
    whole = dataclasses.replace(recipe, compute=halved)
    train(whole, one, resume=True, device="cpu", threads=1, cache=cache)
    arguments = command(recipe, tmp_path / "r", "--resume", "--out", str(two))
    for (code, told, errors), talks in zip(together([arguments] * 2), (True, False), strict=True):
        assert code == 0, errors
        assert ("written" in told) == talks
    assert len(losses(two)) == recipe.iterations
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)


def test_a_machine_without_the_checkpoint_is_told(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = dataclasses.replace(recipe, iterations=1)
    train(begun, tmp_path / "one", device="cpu", threads=1, cache=tmp_path)
    for name, own, first in (("two", 0, 1), ("one", 1, 0)):
        monkeypatch.setattr(Processes, "of_first", lambda self, value, first=first: first)
        with pytest.raises(ValueError, match=f"this one at {own}, the first at {first}; give"):
            train(recipe, tmp_path / name, resume=True, device="cpu", threads=1, cache=tmp_path)
    assert saved_step(tmp_path / "one") == 1


def test_a_compiler_that_is_missing_is_named(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiled = dataclasses.replace(recipe, compute=Compute(compile=True))
    with pytest.raises(ValueError, match="compile needs the C\\+\\+ compiler no-such-compiler"):
        train(compiled, tmp_path / "b", device="cpu", cache=tmp_path)


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


def test_the_recipe_in_the_folder_is_yaml(recipe: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(recipe, iterations=1), tmp_path, device="cpu", cache=tmp_path)
    content = yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8"))
    assert content["data"]["sets"][0]["path"] == "labels.jsonl"
