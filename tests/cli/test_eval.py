from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
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
    out = capsys.readouterr().out
    assert "AP small   0.5000        2 faces" in out
    assert "default: --threshold 0.5, precision 1.000 (0.207 to 1.000), recall 0.500" in out
    assert "rests on 2 faces" in out
    assert main(["eval", "labels", "none.jsonl", "--model", toy]) == 1
    assert "none.jsonl" in capsys.readouterr().err


@pytest.fixture
def three(draw: Draw) -> str:
    """Labels of an image with a face of score 1, one of 0.6 and a false alarm of 0.8."""
    draw("a.png", 255, 153)
    image = cv2.imread("a.png")
    image[0:8, 0:8, 1:] = 6, 204
    cv2.imwrite("a.png", image)
    faces = [[6, 22, 18, 34], [30, 22, 42, 34]]
    entry = {"image": "a.png", "width": 64, "height": 48, "boxes": faces}
    Path("labels.jsonl").write_text(json.dumps(entry) + "\n")
    return "labels.jsonl"


def test_a_threshold_is_suggested(three: str, toy: str, capsys: Captured) -> None:
    wishes = ["--min-precision", "0.95", "--min-recall", "0.9"]
    command = ["eval", "labels", three, "--model", toy, *wishes, "--out", "curves", "--json"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["protocol"] == "default"
    assert report["thresholds"] == {
        "default": {"threshold": 0.5, "precision": 0.66667, "recall": 1.0},
        "precision of 0.95": {"threshold": 0.9, "precision": 1.0, "recall": 0.5},
        "recall of 0.9": {"threshold": 0.3, "precision": 0.66667, "recall": 1.0},
    }
    assert report["curve"][-1] == {"threshold": 0.99, "precision": 1.0, "recall": 0.5}
    assert 0.6 < report["coco_ap"] < 0.9
    assert "written: curves/thresholds.csv" in err
    rows = Path("curves/thresholds.csv").read_text().splitlines()
    assert rows[0] == "threshold,precision,recall,hits,detections,faces"
    assert rows[-1] == "0.99,1.0000,0.5000,1,1,2"
    assert cv2.imread("curves/thresholds.png").shape[1] == 840


def test_a_wish_beyond_reach_is_told(three: str, toy: str, capsys: Captured) -> None:
    labels = Path(three).read_text().replace("[30, 22, 42, 34]", "[30, 2, 42, 8]")
    Path(three).write_text(labels)
    assert main(["eval", "labels", three, "--model", toy, "--min-recall", "0.9"]) == 0
    assert "recall of 0.9: no threshold reaches it" in capsys.readouterr().out
    assert main(["eval", "labels", three, "--model", toy, "--min-recall", "90"]) == 2


def test_without_its_library_coco_s_ap_is_left_out(
    three: str, toy: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert main(["eval", "labels", three, "--model", toy]) == 0
    out, err = capsys.readouterr()
    assert "COCO" not in out
    assert 'pip install "extd[eval]"' in err
