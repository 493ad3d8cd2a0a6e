"""`extd data` with places, names and numbers that cannot be."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
import pytest

from extd.cli.app import main
from extd.data.datasets import read_dataset
from extd.data.sheet import MOST_SAMPLES

Captured = pytest.CaptureFixture[str]

RAW = os.fsdecode(b"caf\xe9.jpg")
"""A name that is not UTF-8."""
raw_names = pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def draw(path: str) -> bytes:
    """Writes a picture of 64 x 48 px, and gives the bytes of its file."""
    rng = np.random.default_rng(len(path))
    pixels = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (64, 48))
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
    return data


def label(*names: str) -> None:
    """Writes `set/labels.jsonl`."""
    Path("set").mkdir(exist_ok=True)
    entries = [{"image": name, "width": 64, "height": 48, "boxes": []} for name in names]
    Path("set/labels.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))


def fails(arguments: str, code: int, message: str, capsys: Captured) -> None:
    assert main(["data", *arguments.split()]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err


def test_a_check_replaces_no_file_of_the_set(capsys: Captured) -> None:
    mine = draw("set/sheet.jpg")
    label("sheet.jpg")
    Path("link").symlink_to("set")
    for out in ("set", "link"):
        message = f"{out}/sheet.jpg would replace a file of the data set, set/sheet.jpg; give"
        fails(f"check set --out {out}", 2, message, capsys)
    assert sorted(path.name for path in Path("set").iterdir()) == ["labels.jsonl", "sheet.jpg"]
    assert main(["data", "check", "set", "--out", "set", "--labels-only"]) == 0
    assert Path("set/sheet.jpg").read_bytes() == mine
    table = "image,x1,y1,x2,y2\nsheet.jpg,,,,\n"
    Path("set/findings.csv").write_text(table)
    capsys.readouterr()
    fails("check set/findings.csv --out set --labels-only", 2, "set/findings.csv would", capsys)
    assert Path("set/findings.csv").read_text() == table


def test_a_check_adds_no_picture_to_the_set(capsys: Captured) -> None:
    draw("flat/a.jpg")
    Path("flat/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    for out in ("flat", "flat/look"):
        fails(f"check flat --out {out}", 2, f"{out}/sizes.png would become a picture", capsys)
    assert len(read_dataset(Path("flat"))) == 1
    assert main(["data", "convert", "flat", "--to", "yolo", "--out", "tree"]) == 0
    assert main(["data", "check", "tree", "--out", "tree/look"]) == 0
    capsys.readouterr()
    fails("check tree --out tree/images/look", 2, "as all in tree/images are", capsys)
    fails("check tree --images flat --out flat/look", 2, "as all in flat are", capsys)
    assert len(read_dataset(Path("tree"))) == 1
    assert main(["data", "convert", "flat", "--to", "voc", "--out", "voc"]) == 0
    assert main(["data", "check", "voc", "--out", "voc/JPEGImages"]) == 0
    assert len(read_dataset(Path("voc"))) == 1


@raw_names
def test_findings_name_pictures_that_are_not_utf8(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    label(RAW)
    assert main(["data", "check", "set", "--out", "look"]) == 1
    assert b"  set/caf\xe9.jpg: no such file" in capsysbinary.readouterr().out
    assert b"missing picture,set/caf\xe9.jpg," in Path("look/findings.csv").read_bytes()


@raw_names
def test_pictures_that_are_not_utf8_are_packed() -> None:
    names = [RAW, "caf%e9.jpg", f"sub{RAW}/b.jpg"]
    for name in names:
        draw(f"set/{name}")
    label(*names)
    assert main(["data", "pack", "set", "--out", "packed", "--parts", "--encoding", "jpg"]) == 0
    with ZipFile("packed/part-000.zip") as part:
        stems = {Path(name).with_suffix("").as_posix() for name in part.namelist()}
    assert stems == {"labels", "images/caf%e9", "images/caf%e9-2", "images/subcaf%e9.jpg/b"}
    assert main(["data", "unpack", "packed/part-000.zip", "--out", "back"]) == 0
    assert main(["data", "check", "back"]) == 0


@raw_names
def test_voc_refuses_names_that_are_not_utf8_at_once(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    draw(f"set/{RAW}")
    label("missing.jpg", RAW)
    assert main(["data", "convert", "set", "--to", "voc", "--out", "voc"]) == 1
    message = b"error: the name or source of set/caf\xe9.jpg is not UTF-8, which Pascal VOC needs"
    assert capsysbinary.readouterr().err.startswith(message)
    assert not Path("voc").exists()


@pytest.mark.parametrize("command", ["csv --out new/set.csv --copy", "yolo --out new --copy"])
def test_what_is_no_picture_is_not_copied(command: str, capsys: Captured) -> None:
    draw("set/a.jpg")
    Path("secret").write_text("root:x:0:0:root:/root:/bin/bash\n")
    label("a.jpg", "../secret")
    message = "secret is broken or not an image"
    fails(f"convert set --to {command}", 1, message, capsys)
    assert not [path for path in Path().rglob("*") if path.is_file() and "new" in path.parts]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pack set --out new --parts --max-mib inf", "--max-mib is inf; give a finite size"),
        ("pack set --out new --parts --max-mib nan", "--max-mib is nan; give a finite size"),
        ("pack set --out new --parts --max-mib 1e308", "--max-mib is 1e+308; give a finite size"),
        ("pack set --out new --threads -1", "--threads is -1; give 0 for one a core, or how many"),
        ("check set --out new --threads -1", "--threads is -1; give 0 for one a core, or how many"),
        ("check set --out new --threads 1025", "--threads is 1025; give"),
        ("check set --out new --samples 725", "--samples is 725; give 1 or more, up to 724"),
        ("check set --out new --seed -1", "--seed is -1; give 0 or more"),
    ],
)
def test_a_number_out_of_range_is_refused_at_once(
    arguments: str, message: str, capsys: Captured
) -> None:
    draw("set/a.jpg")
    label("a.jpg")
    fails(arguments, 2, message, capsys)
    assert not Path("new").exists()


def test_the_largest_sheet_can_be_written() -> None:
    label(*(f"{number}.jpg" for number in range(MOST_SAMPLES + 1)))
    assert main(["data", "check", "set", "--out", "look", "--samples", str(MOST_SAMPLES)]) == 1
    assert Path("look/sheet.jpg").is_file()


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.json"])
def test_labels_that_are_nested_too_deeply_are_named(name: str, capsys: Captured) -> None:
    Path(name).write_text("[" * 200_000)
    fails(f"check {name}", 1, "it is nested too deeply", capsys)


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("pack ../set", ["images", "labels.jsonl"]),
        ("pack ../set --parts", ["part-000.zip"]),
        ("convert ../set --to yolo", ["data.yaml", "images", "labels"]),
    ],
)
def test_an_empty_folder_is_filled_from_within(
    command: str, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw("set/a.jpg")
    label("a.jpg")
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    assert main(["data", *command.split(), "--out", "."]) == 0
    assert sorted(path.name for path in Path().iterdir()) == written
    assert sorted(path.name for path in Path("..").iterdir()) == ["empty", "set"]
