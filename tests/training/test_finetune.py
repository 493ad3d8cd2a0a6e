from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from extd import signals
from extd.cli.app import main
from extd.detector import Detector
from extd.models.network import load_network
from extd.training import finetune as finetuning
from extd.training import trainer
from extd.training.finetune import Plan, Result, card, finetune, plan_finetune
from extd.training.image_cache import split
from extd.training.recipe import Recipe
from extd.training.trainer import train_step

ASTRONAUT = Path(__file__).resolve().parents[2] / "examples" / "astronaut.jpg"
FACE = (170, 60, 280, 200)
"""Around the face, px; the box is 20 px within."""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes `count` images of 256 x 256 px with an astronaut's face on noise, and labels."""

    def written(count: int = 12, boxes: object = None, name: str = "labels.jsonl") -> Path:
        face, rng = Pillow.open(ASTRONAUT).crop(FACE), np.random.default_rng(0)
        lines = []
        for number in range(count):
            noise = rng.integers(60, 140, (16, 16, 3), np.uint8)
            image = Pillow.fromarray(noise).resize((256, 256), Pillow.Resampling.BICUBIC)
            x, y = rng.integers(0, 110, 2).tolist()
            image.paste(face, (x, y))
            image.save(tmp_path / f"{name}{number}.png")
            own = [[x + 20, y + 10, x + 95, y + 120]] if boxes is None else boxes
            lines.append(json.dumps({"image": f"{name}{number}.png", "boxes": own}))
        path = tmp_path / name
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return written


def small(plan: Plan, **changes: Any) -> Plan:
    """The plan with small crops, so that a step takes no time."""
    augmentation = plan.recipe.augmentation.model_copy(update={"crop_sizes": (128,)})
    compute = plan.recipe.compute.model_copy(update={"precision": "fp32"})
    changes = {"augmentation": augmentation, "compute": compute, "batch": 2, **changes}
    return dataclasses.replace(plan, recipe=plan.recipe.model_copy(update=changes))


def test_what_nothing_can_be_learned_from_is_told_before_training(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["finetune", "--out", str(tmp_path / "out")]

    def error(labels: Path, *options: str) -> str:
        assert main([*command, str(labels), *options]) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "has 9 images; label at least 10" in error(write(9))
    assert "has a labeled face" in error(write(10, []))
    assert "all 10 boxes" in error(write(10, [[300, 300, 340, 340]]))
    assert "5.0 px wide or high; the network sees faces from 6 px" in error(
        write(10, [[20, 20, 25, 40]])
    )
    labels = write()
    assert "12 images of" in error(labels, "--test", str(labels))
    assert "there is no model 'extd-light'" in error(labels, "--from", "extd-light")
    assert not (tmp_path / "out").exists()
    assert main(["finetune", str(labels)]) == 2
    assert main(["finetune", str(labels), "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_images_are_held_out_with_faces_and_without(write: Write) -> None:
    plan = plan_finetune(write(), Path("out"))
    some = [dataclasses.replace(s, boxes=s.boxes[:0]) for s in plan.train]
    samples = [*list(plan.train) * 10, *some * 10]
    alone = [[index] for index in range(len(samples))]
    train, test = split(samples, alone)
    assert len(train) + len(test) == len(samples)
    assert sum(len(s.boxes) > 0 for s in test) == sum(not len(s.boxes) for s in test) == 7
    assert (len(plan.train), len(plan.test)) == (7, 5)
    with pytest.raises(ValueError, match="only one image has a labeled face"):
        split([plan.train[0], *some], alone[: 1 + len(some)])


def test_near_duplicates_are_held_out_together(write: Write) -> None:
    plan = plan_finetune(write(), Path("out"))
    samples = [*plan.train] * 6
    groups = [[*range(start, len(samples), len(plan.train))] for start in range(len(plan.train))]
    train, test = split(samples, groups)
    assert {id(s) for s in train}.isdisjoint(id(s) for s in test)
    assert len(test) == 6
    # A group that is more than half of all is learned from.
    assert len(split(samples, [[*range(30)], *([index] for index in range(30, 42))])[1]) == 5


def test_near_duplicates_are_told_before_training(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, copies = write(12), write(12, name="copies.jsonl")
    for number in range(12):
        path = tmp_path / f"copies.jsonl{number}.png"
        Pillow.open(path).resize((300, 300)).save(path)
    rows = [json.loads(line) for line in copies.read_text("utf-8").splitlines()]
    for row in rows:
        row["boxes"] = [[value * 300 / 256 for value in row["boxes"][0]]]
    copies.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    command = ["finetune", str(labels), "--out", str(tmp_path / "out")]
    assert main([*command, "--test", str(copies)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "12 images of" in told
    assert "near-duplicates of images there" in told
    both = tmp_path / "both.jsonl"
    both.write_text(f"{labels.read_text()}\n{copies.read_text()}", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"all images of .*copies\.jsonl with faces are near-duplicates"
    ):
        plan_finetune(both, tmp_path / "out", keep=copies)
    plan = plan_finetune(both, tmp_path / "out")
    assert (len(plan.train), len(plan.test)) == (18, 6)
    assert "9 training images are near-duplicates of others, such as" in plan.notes[0]
    assert "copies.jsonl" in plan.notes[0]
    lines = both.read_text().splitlines()
    both.write_text("\n".join([*lines[:6], *lines[12:18]]), encoding="utf-8")
    assert main(["finetune", str(both), "--out", str(tmp_path / "out")]) == 2
    assert "12 images, but only 6 that differ" in " ".join(capsys.readouterr().err.split())


def test_images_of_a_fixed_camera_are_no_copies(write: Write, tmp_path: Path) -> None:
    labels = write()
    image, lines = Pillow.open(tmp_path / "labels.jsonl0.png"), []
    for number in range(12):
        image.save(tmp_path / f"labels.jsonl{number}.png")
        box = [number * 20, 10, number * 20 + 18, 30]
        lines.append(json.dumps({"image": f"labels.jsonl{number}.png", "boxes": [box]}))
    labels.write_text("\n".join(lines), encoding="utf-8")
    plan = plan_finetune(labels, tmp_path / "out")
    assert (len(plan.train), len(plan.test), len(plan.notes)) == (7, 5, 0)


def test_broken_images_are_left_out_and_told(write: Write, tmp_path: Path) -> None:
    labels = write(13)
    broken, other = (tmp_path / f"labels.jsonl{number}.png" for number in (3, 5))
    lines = labels.read_text("utf-8").splitlines()
    for index in (3, 5):
        sized = json.loads(lines[index]) | {"width": 256, "height": 256}
        lines[index] = json.dumps(sized)
    labels.write_text("\n".join(lines), encoding="utf-8")
    broken.write_bytes(broken.read_bytes()[:3000])
    Pillow.new("RGB", (200, 100)).save(other)
    plan = plan_finetune(labels, tmp_path / "out")
    assert {broken, other}.isdisjoint(s.path for s in (*plan.train, *plan.test))
    assert len(plan.train) + len(plan.test) == 11
    assert f"left out: {broken} is broken" in plan.notes[0]
    assert plan.notes[1] == f"left out: {other} is 200x100 px; its label says 256x256"
    for number in range(6, 9):
        (tmp_path / f"labels.jsonl{number}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"13 images, but only 8 that differ(.|\n)*3\.png"):
        plan_finetune(labels, tmp_path / "out")


def test_boxes_that_are_dropped_are_told(write: Write, tmp_path: Path) -> None:
    labels = write(12)
    lines = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
    for line in lines:
        line["boxes"].append([300, 10, 340, 50])
    labels.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    plan = plan_finetune(labels, tmp_path / "out")
    assert all(len(sample.boxes) == 1 for sample in (*plan.train, *plan.test))
    first = tmp_path / "labels.jsonl0.png"
    box = "[300.0, 10.0, 340.0, 50.0]"
    assert plan.notes[0] == f"left out: {first}: box {box} has no area inside the image"
    assert len(plan.notes) == 12
    told: list[str] = []
    finetuning._write_labels(plan, tmp_path, told.append)
    assert told[2:] == [*plan.notes[:10], "left out: 2 more; extd data check names all"]


def test_general_images_that_are_in_the_labels_are_told(write: Write, tmp_path: Path) -> None:
    labels, general = write(12), write(20, name="general.jsonl")
    plan = plan_finetune(labels, tmp_path / "out", keep=general)
    # The first twelve are the same images.
    assert len(plan.keep) == 8
    names = ", ".join(str(tmp_path / f"general.jsonl{number}.png") for number in range(3))
    assert f"left out: 12 of 20 images of {general}, as near-duplicates" in plan.notes[0]
    assert plan.notes[0].endswith(f"such as {names}")


def test_a_model_that_is_no_better_is_not_recommended(write: Write, tmp_path: Path) -> None:
    plan = plan_finetune(write(), tmp_path / "out")
    ap = {"all": 0.5}

    def written(name: str, low: float) -> str:
        return card(plan, Result(Path(f"{name}.onnx"), ap, ap, (low, 0.2)), None, {})

    use = "extd detect photo.jpg --model"
    worse = written("not-better", -0.1)
    assert "Not recommended: AP did not rise beyond noise" in worse
    assert use not in worse
    better = written("model", 0.1)
    assert f"{use} model.onnx" in better
    assert "ecommended" not in better


def test_minutes_count_from_the_start_of_the_command(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, ends = plan_finetune(write(), tmp_path / "out"), []

    def stop(plan: Plan, folder: Path, end: float, report: object) -> None:
        ends.append(end)
        raise OSError("enough")

    monkeypatch.setattr(finetuning, "_train", stop)
    with pytest.raises(OSError, match="enough"):
        finetune(plan, 2.0, lambda _: None, began=100.0)
    assert ends == [220.0]


def test_general_images_are_half_of_the_crops(write: Write) -> None:
    plan = plan_finetune(write(), Path("out"), keep=write(20, name="general.jsonl"))
    assert plan.recipe.data.sets[1].weight == pytest.approx(len(plan.train) / len(plan.keep))


def test_steps_fill_the_time_that_measuring_leaves(write: Write) -> None:
    few = plan_finetune(write(), Path("out"))
    many = dataclasses.replace(few, train=[*few.train] * 200)

    def fit(plan: Plan, seconds: float) -> Recipe:
        return finetuning._fit_recipe(plan, plan.recipe, seconds, step=1.0, detecting=1.0)

    # Five measurements of 16 s, two of them and 40 s of calibration at the end.
    assert (fit(many, 1000.0).iterations, fit(many, 1000.0).validation.every) == (848, 170)
    assert fit(few, 1000.0).iterations == 175
    late = fit(few, -5.0)
    assert (late.iterations, late.validation.every, late.optimizer.warmup) == (10, 10, 2)


def test_a_network_of_the_paper_keeps_its_loss(write: Write) -> None:
    recipe = plan_finetune(write(), Path("out"), init="extd-fpn-32-prelu").recipe
    assert (recipe.model, recipe.init) == ("extd-fpn-32-prelu",) * 2
    assert (recipe.loss.assigner, recipe.loss.classification) == ("s3fd", "cross_entropy")


@pytest.mark.slow
def test_ten_images_become_a_detector_with_a_card(write: Write, tmp_path: Path) -> None:
    lines: list[str] = []
    out = tmp_path / "out"
    general = write(20, name="general.jsonl")
    plan = small(plan_finetune(write(), out, init="extd-lite-nano", keep=general))
    result = finetune(plan, 0.01, lines.append)
    assert lines[:2] == [
        "7 training images with 7 faces",
        "8 general images with 8 faces",
    ]
    assert result.better == (result.model.name == "model.onnx")
    name = result.model.stem
    assert {path.name for path in out.iterdir()} - {"errors.jpg"} == {
        *(f"{name}.onnx", f"{name}-int8.onnx", f"{name}.safetensors", f"{name}.md", "training"),
    }
    for file in (result.model, out / f"{name}-int8.onnx"):
        assert Detector(file).detect(plan.test[0].path).landmarks is not None
    network, notes = load_network(out / f"{name}.safetensors")
    assert notes["license"]
    paths = (plan.weights, out / "training" / "best.safetensors")
    before, best = (load_network(path)[0].state_dict()["heads.conv.weight"] for path in paths)
    mean = network.state_dict()["heads.conv.weight"]
    torch.testing.assert_close(mean, 0.3 * before + 0.7 * best)
    text = (out / f"{name}.md").read_text("utf-8")
    assert (f"extd detect photo.jpg --model {name}.onnx" in text) == result.better
    assert "10 steps" in text
    assert ("errors.jpg" in text) == (out / "errors.jpg").exists()
    assert str(tmp_path) not in text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_training_and_exports_what_there_is(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def step(*arguments: Any) -> Any:
        # Steps of the estimate before the training have a learning rate of zero.
        if arguments[5] > 0:
            signal.raise_signal(number)
        return train_step(*arguments)

    monkeypatch.setattr(trainer, "train_step", step)
    monkeypatch.setattr(signals, "REPEAT_SECONDS", 600.0)
    before = signal.signal(number, signal.default_int_handler)
    lines: list[str] = []
    try:
        plan = small(plan_finetune(write(), tmp_path / "out", init="extd-lite-nano"))
        result = finetune(plan, 0.01, lines.append)
    finally:
        signal.signal(number, before)
    assert lines[-1].startswith("exporting the best weights so far")
    assert Detector(result.model).detect(plan.test[0].path) is not None
    assert "1 steps" in result.model.with_suffix(".md").read_text("utf-8")


PROGRAM = """
import signal
from extd.cli.app import run

# Background jobs of a shell ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
run()
"""


@pytest.mark.slow
def test_two_signals_within_the_first_step_end_the_process(write: Write, tmp_path: Path) -> None:
    command = ["finetune", str(write()), "--out", str(tmp_path / "out")]
    program = [sys.executable, "-c", PROGRAM, *command]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "from step 0 of" in line:
                break
        process.send_signal(signal.SIGINT)
        time.sleep(1.2 * signals.REPEAT_SECONDS)
        process.send_signal(signal.SIGINT)
        # The process may use two seconds to end by itself.
        assert process.wait(timeout=5) == 130
    assert not (tmp_path / "out" / "training" / "best.safetensors").exists()


def test_after_an_error_the_command_can_be_given_again(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    plan = plan_finetune(write(), tmp_path / "out")
    monkeypatch.setattr(finetuning, "_train", fail)
    with pytest.raises(OSError, match="no space left"):
        finetune(plan, report=lambda _: None)
    assert not list((tmp_path / "out").iterdir())


def test_noise_is_not_called_better() -> None:
    def result(low: float, high: float) -> Result:
        return Result(Path("m.onnx"), {"all": 0.5}, {"all": 0.6}, (low, high))

    assert str(result(0.02, 0.2)).endswith("+0.100 (95 % interval +0.020 to +0.200)")
    assert "not rise beyond noise" in str(result(-0.1, 0.2))
    assert "may be noise" in str(result(-np.inf, np.inf))
    assert [result(*x).better for x in ((0.02, 0.2), (0.0, 0.0))] == [True, False]
