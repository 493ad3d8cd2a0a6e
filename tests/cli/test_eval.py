from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extd.cli.app import main

Draw = Callable[..., Path]
WriteTruth = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def benchmark(draw: Draw, write_truth: WriteTruth, toy: str) -> list[str]:
    """Arguments to evaluate one picture, of two in the ground truth, whose one face is found."""
    image = draw("a.png", 255).rename("picture.jpg")
    (folder := Path("images/0--Parade")).mkdir(parents=True)
    image.rename(folder / "a.jpg")
    boxes = np.array([[6.0, 22.0, 11.0, 11.0]])
    write_truth(Path("truth"), {"a": boxes, "b": boxes})
    return ["eval", "wider", "--images", "images", "--ground-truth", "truth", "--model", toy]


def test_the_report_covers_the_images_there_are(benchmark: list[str], capsys: Captured) -> None:
    assert main(benchmark) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "AP on 1 of the 2 images" in out
    assert [line.split() for line in out.splitlines()[2:]] == [
        ["easy", "1.0000"],
        ["medium", "1.0000"],
        ["hard", "1.0000"],
    ]


def test_json_alone_goes_to_standard_output(benchmark: list[str], capsys: Captured) -> None:
    assert main([*benchmark, "--protocol", "multiscale", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    report = json.loads(out)
    assert report["images"] == 1
    assert report["model"] == benchmark[-1]
    assert report["protocol"] == "multiscale"
    assert set(report["ap"]) == {"easy", "medium", "hard"}


def test_saved_predictions_give_the_same_result(benchmark: list[str], capsys: Captured) -> None:
    assert main([*benchmark, "--save-predictions", "saved", "--json", "direct.json"]) == 0
    assert Path("saved/0--Parade/a.txt").is_file()
    assert main([*benchmark[:-2], "--predictions", "saved", "--json", "again.json"]) == 0
    direct, again = (json.loads(Path(f"{name}.json").read_text()) for name in ("direct", "again"))
    assert again["ap"] == direct["ap"] == {"easy": 1, "medium": 1, "hard": 1}
    assert again["model"] == "saved"
    assert "1.0000" in capsys.readouterr().out


def test_predictions_and_a_model_exclude_each_other(benchmark: list[str], capsys: Captured) -> None:
    assert main([*benchmark, "--predictions", "saved"]) == 2
    assert "leave out --model" in capsys.readouterr().err


def test_an_unknown_protocol_names_the_choices(benchmark: list[str], capsys: Captured) -> None:
    assert main([*benchmark, "--protocol", "double"]) == 2
    err = capsys.readouterr().err
    assert all(name in err for name in ("single", "paper", "multiscale"))


def test_missing_ground_truth_is_named(benchmark: list[str], capsys: Captured) -> None:
    Path("truth/wider_hard_val.mat").unlink()
    assert main(benchmark) == 1
    assert "wider_hard_val.mat" in capsys.readouterr().err


def test_ones_own_labels_are_measured_by_size(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("a.png", 255)
    faces = [[6, 22, 18, 34], [30, 2, 34, 6]]
    entry = {"image": "a.png", "width": 64, "height": 48, "boxes": faces}
    Path("labels.jsonl").write_text(json.dumps(entry) + "\n")
    assert main(["eval", "labels", "labels.jsonl", "--model", toy, "--json", "ap.json"]) == 0
    report = json.loads(Path("ap.json").read_text())
    assert report["faces"] == {"all": 2, "small": 2, "medium": 0, "large": 0}
    assert report["ap"] == {"all": 0.5, "small": 0.5, "medium": None, "large": None}
    assert "AP small   0.5000        2 faces" in capsys.readouterr().out
    assert main(["eval", "labels", "none.jsonl", "--model", toy]) == 1
    assert "none.jsonl" in capsys.readouterr().err
