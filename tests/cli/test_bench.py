from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extd.catalog import DEFAULT_MODEL, load_catalog
from extd.cli.app import main
from extd.images import read_image

Draw = Callable[..., Path]
WriteTruth = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def pair(toy: str, tmp_path: Path) -> list[str]:
    """A command that measures two detectors on a small picture, and an empty working folder."""
    for name in ("first", "second"):
        shutil.copy(toy, tmp_path / f"{name}.onnx")
    files = [str(tmp_path / f"{name}.onnx") for name in ("first", "second")]
    return ["bench", *files, "--rounds", "2", "--sizes", "64x48", "--out", str(tmp_path / "out")]


@pytest.fixture
def wider(draw: Draw, write_truth: WriteTruth) -> list[str]:
    """Arguments to measure AP on one picture, whose one face is found."""
    picture = draw("a.png", 255)
    (folder := Path("images/0--Parade")).mkdir(parents=True)
    picture.rename(folder / "a.jpg")
    write_truth(Path("truth"), {"a": np.array([[6.0, 22.0, 11.0, 11.0]])})
    return ["--images", "images", "--ground-truth", "truth"]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_detector_is_timed_at_every_size(
    pair: list[str], tmp_path: Path, capsys: Captured
) -> None:
    assert main([*pair, "--sizes", "64x48,128x96", "--sizes", "64x48", "--batch", "3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = read_rows(tmp_path / "out/latency.csv")
    assert [(row["detector"], row["width"], row["input_height"]) for row in rows] == [
        *((name, "64", "48") for name in ("first", "second")),
        *((name, "128", "96") for name in ("first", "second")),
    ]
    for row in rows:
        assert float(row["network_ms"]) < float(row["whole_ms"])
        assert float(row["network_ms_lower_quartile"]) <= float(row["network_ms"])
        assert int(row["memory_bytes"]) > 2e7
        assert row["threads"] == "1"
        assert row["command"]
    lines = [line.split(" | ") for line in out.splitlines() if line.startswith("| first | 64x48")]
    assert lines[0][-1] == "1.00 |"
    assert [row["batch"] for row in read_rows(tmp_path / "out/throughput.csv")] == ["3", "3"]
    assert read_image(tmp_path / "out/latency.png").std() > 5


def test_ap_stands_beside_latency_and_is_taken_from_the_last_time(
    pair: list[str], wider: list[str], tmp_path: Path, capsys: Captured
) -> None:
    assert main([*pair, *wider]) == 0
    rows = read_rows(tmp_path / "out/ap.csv")
    assert [row["detector"] for row in rows] == ["first", "second"]
    for row in rows:
        assert (row["easy"], row["hard"], row["protocol"], row["images"]) == (
            *("1.0", "1.0"),
            *("single", "1"),
        )
        assert row["how"] == "NMS 0.3"
    assert read_image(tmp_path / "out/ap_against_latency.png").std() > 5
    assert "| 1.000 | 1.000 | 1.000 |" in capsys.readouterr().out
    found = sorted((tmp_path / "out/predictions").glob("*/*/a.txt"))
    assert [path.parents[1].name.partition("-")[0] for path in found] == ["first", "second"]
    found[1].write_text("a.jpg\n1\n0 0 5 5 0.5\n")
    assert main([pair[0], *pair[2:], *wider]) == 0
    assert [row["easy"] for row in read_rows(tmp_path / "out/ap.csv")] == ["0.0"]


def test_what_cannot_be_loaded_is_named_and_the_rest_goes_on(
    pair: list[str], tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    assert main([*pair, "--peers", str(tmp_path)]) == 2
    assert "two detectors are called first" in capsys.readouterr().err
    assert main([pair[0], *pair[3:], "--peers", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "broken.onnx" in lines[0]
    rows = read_rows(tmp_path / "out/latency.csv")
    shipped = [model.name for model in load_catalog() if model.weights]
    assert [row["detector"] for row in rows] == [*shipped, "first", "second"]
    assert shipped[0] == DEFAULT_MODEL


def test_nothing_to_measure_is_an_error(tmp_path: Path, capsys: Captured) -> None:
    assert main(["bench", "none.onnx", "--out", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert "none.onnx" in err
    assert "no detector could be loaded" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "640"], "--sizes has '640'"),
        (["--sizes", "640x0"], "--sizes has '640x0'"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--batch", "0"], "--batch is 0"),
        (["--threads", "-1"], "--threads is -1"),
        (["--images", "pictures"], "both --images and --ground-truth"),
        (["--peers", "nowhere"], "no .onnx files in nowhere"),
        (["--picture", "none.jpg"], "none.jpg"),
    ],
)
def test_wrong_use_is_explained(
    pair: list[str], tmp_path: Path, capsys: Captured, options: list[str], message: str
) -> None:
    assert main([*pair[:3], "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
