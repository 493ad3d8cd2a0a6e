from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from extd.cli.app import main
from extd.images import read_image
from extd.measure.predictions import Prediction, write_predictions
from extd.measure.subsets import ATTRIBUTES

WriteTruth = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, write_truth: WriteTruth) -> Path:
    """Ground truth of two faces in one of two pictures; two detectors, of which one finds both."""
    boxes = np.array([[10.0, 10, 20, 20], [50, 10, 200, 200]])
    labels = [np.array([[0.0], [1.0]]), np.zeros((2, 1))]
    attributes = dict.fromkeys(ATTRIBUTES, labels)
    write_truth(tmp_path / "truth", {"a": boxes, "b": boxes}, attributes)
    for name, count in (("good", 2), ("poor", 1)):
        found = {"0--Parade/a": Prediction(boxes[:count], np.linspace(0.9, 0.5, count))}
        write_predictions(tmp_path / name, found)
    return tmp_path


@pytest.mark.parametrize("kind", ["pr", "recall", "attributes"])
def test_a_picture_and_a_table_of_all_detectors(folder: Path, kind: str, capsys: Captured) -> None:
    out = folder / "plots"
    arguments = ["--ground-truth", str(folder / "truth"), "--out", str(out)]
    assert main(["plot", kind, str(folder / "good"), str(folder / "poor"), *arguments]) == 0
    assert f"written: {out / kind}.png" in capsys.readouterr().out.replace("\n", "")
    assert read_image(out / f"{kind}.png").std() > 5
    with (out / f"{kind}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if kind == "pr":
        best = {
            name: max(float(r["recall"]) for r in rows if r["detector"] == name)
            for name in ("good", "poor")
        }
    else:
        best = {r["detector"]: float(r["recall"]) for r in rows if r["group"] == "all"}
    assert best == {"good": 1.0, "poor": 0.5}


def test_the_gallery_is_a_page_of_pictures(folder: Path, capsys: Captured) -> None:
    shutil.copytree(folder / "truth", folder / "ground_truth")
    (folder / "images" / "0--Parade").mkdir(parents=True)
    image = np.full((300, 300, 3), 128, np.uint8)
    for name in "ab":
        cv2.imwrite(str(folder / "images" / "0--Parade" / f"{name}.jpg"), image)
    page = folder / "page.png"
    arguments = ["--images", str(folder / "images"), "--ground-truth", str(folder / "truth")]
    assert main(["plot", "gallery", *arguments, "--out", str(page), "--threads", "1"]) == 0
    assert "page.png" in capsys.readouterr().out
    assert read_image(page).std() > 5


def test_official_curves_stand_beside_ours(folder: Path) -> None:
    points = np.column_stack([np.linspace(1, 0.5, 1000), np.linspace(0, 0.8, 1000)])
    savemat(
        folder / "wider_pr_info_x_easy_val.mat", {"pr_cruve": points, "legend_name": "Other one"}
    )
    arguments = ["--ground-truth", str(folder / "truth"), "--out", str(folder / "plots")]
    command = ["plot", "pr", str(folder / "good"), *arguments, "--official", str(folder)]
    assert main(command) == 0
    assert "Other one,easy," in (folder / "plots" / "pr.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["recall", "good", "poor/../good"], "two folders are called good"),
        (["recall", "good", "--false-alarms", "0"], "--false-alarms is 0; give a number above 0"),
        (["pr", "nothing"], "nothing"),
        (["pr"], "PREDICTIONS"),
        (["pr", "good", "--official", "good"], "has no wider_pr_info"),
        (["attributes", "good", "other"], "0--Parade/b is missing from good"),
    ],
)
def test_wrong_use_is_explained(
    folder: Path,
    command: list[str],
    message: str,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    shutil.copytree("good", "other")
    write_predictions(Path("other"), {"0--Parade/b": Prediction([[1, 2, 3, 4]], [0.5])})
    assert main(["plot", *command, "--ground-truth", "truth", "--out", "plots"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("plots").exists()
