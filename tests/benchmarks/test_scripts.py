"""A smoke test of each script that compares detectors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import accuracy
import batch
import box_offsets
import cv2
import eager_vs_onnx
import finetune_rotated
import large_images
import latency
import memory
import numpy as np
import pandas as pd
import pytest
import robustness
import serve_load

from extd.data.labels import write_jsonl
from extd.data.sample import Sample
from extd.detector import Detector
from extd.images import read_image

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def pair(toy: str, tmp_path: Path) -> list[str]:
    """Two detectors, as arguments."""
    return [str(shutil.copy(toy, tmp_path / f"{name}.onnx")) for name in ("first", "second")]


def test_detectors_are_timed_and_set_against_their_ap(
    pair: list[str], tmp_path: Path, write_truth: Callable[..., Path]
) -> None:
    out = tmp_path / "out"
    sizes = ["--sizes", "64x48", "640x480"]
    latency.main([*pair, *sizes, "--rounds", "2", "--out", str(out)])
    times = pd.read_csv(out / "latency.csv")
    assert times["detector"].tolist() == ["first", "second"] * 2
    assert times["width"].tolist() == [64, 64, 640, 640]
    assert (times["network_ms"] < times["whole_ms"]).all()
    assert (times["network_ms_lower_quartile"] <= times["network_ms"]).all()
    # Without PyTorch and pandas.
    assert times["memory_bytes"].between(2e7, 3e8).all()
    assert read_image(out / "latency.png").std() > 5

    image = np.zeros((48, 64, 3), np.uint8)
    image[24:32, 8:16, 1:] = 6, 255
    (folder := tmp_path / "images/0--Parade").mkdir(parents=True)
    # Without loss, for the toy reads single levels.
    cv2.imwrite(str(folder / "a.png"), image)
    (folder / "a.png").rename(folder / "a.jpg")
    truth = write_truth(tmp_path / "truth", {"a": np.array([[6.0, 22.0, 11.0, 11.0]])})
    files = ["--images", str(folder.parent), "--ground-truth", str(truth)]
    known = ["--latency", str(out / "latency.csv"), "--save-predictions", str(tmp_path / "found")]
    accuracy.main([*pair, *files, *known, "--out", str(out)])
    table = pd.read_csv(out / "ap.csv")
    assert table["detector"].tolist() == ["first", "second"]
    assert (table[["images", "easy", "medium", "hard"]] == 1).all(axis=None)
    assert table["width"].tolist() == [640, 640]
    assert (tmp_path / "found/first/0--Parade/a.txt").is_file()
    assert read_image(out / "ap_against_latency.png").std() > 5
    robustness.main([pair[0], *files, "--out", str(out)])
    damaged = pd.read_csv(out / "robustness.csv")
    assert damaged["images"].tolist() == list(robustness.DAMAGES)
    # The toy knows one shade of red, which noise changes.
    assert damaged["easy"].iloc[[0, 2]].tolist() == [1, 0]
    assert read_image(out / "robustness.png").std() > 5


@pytest.mark.parametrize("size", ["640", "640x0", "axb"])
def test_a_wrong_size_is_named(size: str) -> None:
    with pytest.raises(ValueError, match=f"'{size}' is no size"):
        memory.portrait(size)


def test_reading_and_detecting_are_compared(examples: Path, capsys: Captured) -> None:
    batch.main([str(examples), "--images", "2"])
    assert "read and detect side by side" in capsys.readouterr().out


@pytest.mark.slow
def test_eager_pytorch_and_the_onnx_file_are_compared(capsys: Captured) -> None:
    eager_vs_onnx.main(["--widths", "32", "--rounds", "1"])
    assert "extd-fpn-32-prelu" in capsys.readouterr().out


def test_a_large_image_is_timed_in_several_ways(examples: Path, toy: str, capsys: Captured) -> None:
    image = str(examples / "astronaut.jpg")
    large_images.main([image, "--model", toy, "--megapixels", "1", "--rounds", "1"])
    output = capsys.readouterr().out
    assert "1000 x 1000 px" in output
    assert all(way in output for way in large_images.WAYS)


def test_boxes_turn_with_their_image(tmp_path: Path) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[10:30, 20:60] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    box = np.array([[20, 10, 60, 30]], np.float32)
    turned = finetune_rotated.turn(Sample(tmp_path / "a.png", 80, 60, box, box[:0]), tmp_path)
    assert (turned.width, turned.height) == (60, 80)
    x1, y1, x2, y2 = turned.boxes[0].astype(int)
    bright = read_image(turned.path)[..., 0] > 127
    assert bright[y1:y2, x1:x2].all()
    assert bright.sum() == (y2 - y1) * (x2 - x1)


def test_boxes_are_compared_with_labels(toy: str, tmp_path: Path, capsys: Captured) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[24:32, 8:16, 1:] = 6, 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (box,) = Detector(toy).detect(image[..., ::-1]).boxes
    label = (box - (1, 0, 1, 0)).astype(np.float32)[None]
    write_jsonl([Sample(tmp_path / "a.png", 64, 48, label, label[:0])], tmp_path / "labels.jsonl")
    box_offsets.main([str(tmp_path / "labels.jsonl"), toy, "--shift", "-9"])
    printed = capsys.readouterr().out
    assert "1 found, +1.00 px right, +0.00 px below, 1.00 times as wide, 1.00 as high" in printed
    assert "moved +0.00 px: all 1.000" in printed
    assert "moved -9.00 px: all 0.000" in printed


def test_the_server_is_compared_with_the_command(
    examples: Path, toy: str, capsys: Captured
) -> None:
    sizes = ["--sample", "12", "--requests", "8"]
    serve_load.main(["--images", str(examples), "--model", toy, *sizes])
    printed = capsys.readouterr().out
    assert "| server, 8 clients, images a second |" in printed
    assert "| answered of 8 requests in work |" in printed
