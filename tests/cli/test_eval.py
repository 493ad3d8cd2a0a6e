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


def test_the_report_covers_the_pictures_there_are(benchmark: list[str], capsys: Captured) -> None:
    assert main(benchmark) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "AP on 1 of the 2 pictures" in out
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


def test_fddb_gives_rates_a_curve_and_json(draw: Draw, toy: str, capsys: Captured) -> None:
    # The toy finds a box of 12 px around (12, 28), and a wrong one.
    draw("pictures/2002/big/img_1.png", 255, 200).rename("pictures/2002/big/img_1.jpg")
    Path("folds").mkdir()
    ellipse = "6 6 0 12 28  1"
    Path("folds/FDDB-fold-01-ellipseList.txt").write_text(f"2002/big/img_1\n1\n{ellipse}\n")
    line = ["eval", "fddb", "--images", "pictures", "--annotations", "folds", "--model", toy]
    assert main([*line, "--out", "roc"]) == 0
    out = capsys.readouterr().out
    assert "1 pictures of FDDB, 1 faces" in out
    assert "discrete 1.0000" in out
    assert Path("roc/roc.png").stat().st_size > 5_000
    assert Path("roc/roc.csv").read_text().splitlines()[1].split(",")[1] == "0"
    assert main([*line, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["discrete"]["10"] == 1
    assert 0.6 < report["continuous"]["10"] < 0.9
    Path("pictures/2002/big/img_1.jpg").unlink()
    assert main(line) == 1
    assert "img_1.jpg" in capsys.readouterr().err


def test_voc_gives_ap_and_a_curve(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("a.png", 255, 200)
    box = "<bndbox><xmin>7</xmin><ymin>23</ymin><xmax>18</xmax><ymax>34</ymax></bndbox>"
    face = f"<object><name>face</name>{box}</object>"
    Path("xml").mkdir()
    Path("xml/a.xml").write_text(f"<annotation><filename>a.png</filename>{face}</annotation>")
    line = ["eval", "voc", "--images", ".", "--annotations", "xml", "--model", toy]
    assert main([*line, "--smallest", "10", "--out", "curve", "--json", "ap.json"]) == 0
    assert json.loads(Path("ap.json").read_text())["ap"] == 1
    assert "1 faces: AP 1.0000" in capsys.readouterr().out
    assert Path("curve/precision_recall.png").stat().st_size > 5_000
    assert main(line) == 1
    assert "30 px" in capsys.readouterr().err
    assert main([*line, "--smallest", "0"]) == 2
