from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.cli.app import main
from extd.data.contact_sheet import MOST_SAMPLES
from extd.data.datasets import FORMATS, read_dataset
from extd.images import read_image

Captured = pytest.CaptureFixture[str]


def entry(name: str, *boxes: Sequence[float], **more: object) -> dict[str, object]:
    return {"image": name, "width": 320, "height": 240, "boxes": boxes, "ignore": [], **more}


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of three sound images, `faces/labels.jsonl`, in the working directory."""
    monkeypatch.chdir(tmp_path)
    entries = [
        entry("a.png", [10, 10, 40, 50], [100, 100, 105, 106], source="street"),
        entry("b.png", [20, 20, 90, 90], source="street"),
        entry("sub/c.png", ignore=[[0, 0, 20, 20]], source="home"),
    ]
    rng = np.random.default_rng(0)
    for one in entries:
        path = Path("faces", str(one["image"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (320, 240))
        assert cv2.imwrite(str(path), smooth)
    return label(*entries)


def label(*entries: dict[str, object]) -> Path:
    path = Path("faces", "labels.jsonl")
    path.write_text("".join(json.dumps(one) + "\n" for one in entries))
    return path


def test_a_sound_set_is_described(faces: Path, capsys: Captured) -> None:
    assert main(["data", "check", str(faces)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == (
        "faces/labels.jsonl: 3 images, 1 of them without faces; 3 faces, 1 ignored region"
    )
    cells = [line.split() for line in lines]
    assert ["4-8", "1", "#" * 40] in cells
    assert ["<", "4", "0"] in cells
    assert ["street", "2", "3", "0", "1", "0", "0", "1", "1", "0", "0", "0", "0"] in cells
    assert ["home", "1", "0", *"000000000", "1"] in cells
    assert "nothing is wrong" in lines


def test_everything_wrong_is_named(faces: Path, capsys: Captured) -> None:
    Path("faces/broken.png").write_text("no image")
    Path("faces/same.png").write_bytes(Path("faces/b.png").read_bytes())
    label(
        entry("a.png", [10, 10, 10, 50], [300, 10, 330, 20], [5, 5, 9, 9], [5, 5, 9, 9]),
        entry("a.png", [400, 10, 410, 20]),
        entry("b.png") | {"width": 300},
        entry("same.png") | {"width": 300},
        entry("broken.png"),
        entry("missing.png"),
    )
    assert main(["data", "check", str(faces), "--threads", "2"]) == 1
    out = capsys.readouterr().out
    named = [line.strip() for line in out.splitlines() if line.startswith("  faces/")]
    expected = [
        "faces/missing.png: no such file",
        "faces/broken.png: is broken or not an image",
        "faces/b.png: 320 x 240 px, but labeled 300 x 240",
        "faces/same.png: 320 x 240 px, but labeled 300 x 240",
        "faces/a.png: listed before",
        "faces/same.png: the same pixels as faces/b.png",
        "faces/a.png: [10, 10, 10, 50], face 1: 0 x 40 px",
        "faces/a.png: [400, 10, 410, 20], face 1 in 320 x 240 px",
        "faces/a.png: [300, 10, 330, 20], face 2 in 320 x 240 px",
        "faces/a.png: [5, 5, 9, 9], face 4 is face 3 again",
    ]
    assert len(named) == len(expected)
    for line, start in zip(named, expected, strict=True):
        assert line.startswith(start)
    assert "10 findings" in out.splitlines()


def test_near_duplicates_are_named_within_a_set_and_between_two(
    faces: Path, capsys: Captured
) -> None:
    copy = cv2.resize(read_image(Path("faces/a.png"))[..., ::-1], (160, 120))
    Path("test").mkdir()
    for folder in ("faces", "test"):
        assert cv2.imwrite(f"{folder}/copy.jpg", copy)
    line = {"image": "copy.jpg", "width": 160, "height": 120, "boxes": []}
    Path("test/labels.jsonl").write_text(json.dumps(line) + "\n")
    assert main(["data", "check", str(faces), "test/labels.jsonl"]) == 1
    out = capsys.readouterr().out
    assert "image that the other set has, too: 1" in out
    assert "test/copy.jpg: like faces/a.png, " in out
    with faces.open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert main(["data", "check", str(faces)]) == 1
    out = capsys.readouterr().out
    assert "near-duplicate of another image: 1\n  faces/copy.jpg: like faces/a.png, " in out
    assert main(["data", "check", str(faces), "test", "--labels-only"]) == 2
    assert "leave out OTHER" in capsys.readouterr().err


def test_the_first_pairs_are_printed_and_the_others_counted(faces: Path, capsys: Captured) -> None:
    image = read_image(Path("faces/a.png"))[..., ::-1]
    entries = []
    for number in range(6):
        assert cv2.imwrite(f"faces/{number}.png", image + np.uint8(number))
        entries.append(entry(f"{number}.png"))
    label(*entries)
    assert main(["data", "check", str(faces)]) == 1
    out = capsys.readouterr().out
    assert "near-duplicate of another image: 15\n" in out
    assert out.count(": like faces/") == 10
    assert "  and 5 more; --out DIR lists all\n" in out


def test_near_duplicates_need_a_package(
    faces: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    assert main(["data", "check", str(faces)]) == 0
    assert 'pip install "extd[eval]"' in capsys.readouterr().err
    assert main(["data", "check", str(faces), str(faces)]) == 1
    assert "error: near-duplicates are found by the package imagehash" in capsys.readouterr().err


def test_labels_only_opens_no_image(faces: Path, capsys: Captured) -> None:
    label(entry("missing.png", [10, 10, 40, 50]))
    assert main(["data", "check", str(faces), "--labels-only", "--out", "look"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    assert sorted(path.name for path in Path("look").iterdir()) == ["findings.csv"]


def test_a_wrong_folder_of_images_is_hinted_at(faces: Path, capsys: Captured) -> None:
    Path("elsewhere").mkdir()
    assert main(["data", "check", str(faces), "--images", "elsewhere"]) == 1
    out = capsys.readouterr().out
    assert "missing image: 3" in out
    assert "no image was found: give --images" in out
    assert main(["data", "check", str(faces), "--images", "faces"]) == 0
    assert "--images" not in capsys.readouterr().out


def test_what_the_terminal_leaves_out_is_in_the_file(faces: Path, capsys: Captured) -> None:
    label(entry("a.png", *([7 + n, 7, 7 + n, 9] for n in range(14))))
    assert main(["data", "check", str(faces), "--out", "new/look"]) == 1
    out = capsys.readouterr().out
    assert out.count("0 x 2 px") == 10
    assert "and 4 more; all are in new/look/findings.csv" in out
    assert Path("new/look/findings.csv").read_text().count("0 x 2 px") == 14
    assert main(["data", "check", str(faces)]) == 1
    out_less = capsys.readouterr().out
    assert out_less.count("0 x 2 px") == 10
    assert "and 4 more; --out DIR lists all" in out_less
    for name in ("contact_sheet.jpg",):
        assert f"written: new/look/{name}" in out
        assert read_image(Path("new/look") / name).std() > 5


@pytest.mark.parametrize(
    ("layout", "out"),
    [
        ("jsonl", "new/faces.jsonl"),
        ("coco", "new/faces.json"),
        ("csv", "new/faces.csv"),
        ("voc", "new"),
        ("wider", "new"),
        ("yolo", "new"),
    ],
)
def test_a_set_is_converted(faces: Path, layout: str, out: str, capsys: Captured) -> None:
    assert main(["data", "convert", str(faces), "--to", layout, "--out", out]) == 0
    written, *lost = capsys.readouterr().out.splitlines()
    assert written == f"written: {out}, 3 images with 3 faces"
    expected = {"wider": ["sources"], "yolo": ["ignored", "sources"]}.get(layout, [])
    assert len(lost) == len(expected)
    for line, word in zip(lost, expected, strict=True):
        assert line.startswith("lost: ")
        assert word in line
    assert main(["data", "check", out, "--format", layout]) == 0
    assert "3 images, 1 of them without faces; 3 faces" in capsys.readouterr().out


def test_every_format_is_named_in_the_help(capsys: Captured) -> None:
    for command in ("check", "convert"):
        assert main(["data", command, "--help"]) == 0
        words = set(capsys.readouterr().out.replace(",", " ").replace(".", " ").split())
        assert words >= set(FORMATS), command


@pytest.mark.usefixtures("small")
def test_a_malformed_entry_is_listed_and_left_out(capsys: Captured) -> None:
    labels = Path("set/labels.jsonl")
    labels.write_text(labels.read_text() + '{"image": "b.jpg", "boxes": [[1, NaN, 9, 9]]}\n')
    assert main(["data", "check", "set"]) == 1
    out = capsys.readouterr().out
    assert "malformed entry, left out: 1\n  set/labels.jsonl: line 2: [1, nan, 9, 9] is" in out
    assert main(["data", "convert", "set", "--to", "csv", "--out", "new.csv"]) == 0
    assert "\nleft out: set/labels.jsonl: line 2: [1, nan" in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_classes_of_faces_are_named(capsys: Captured) -> None:
    draw("other/a.jpg")
    Path("other/a.txt").write_text("".join(f"{number} 0.5 0.5 0.2 0.2\n" for number in range(3)))
    Path("other/data.yaml").write_text("names: [head, person, tree]\n")
    fails("check other", 1, "none of the classes is called 'face'", capsys)
    fails("check other --class bush", 1, "there is no class 'bush'; there are 'head'", capsys)
    arguments = ["data", "check", "other", "--class", "head", "--class", "person"]
    assert main(arguments) == 1
    assert "; 2 faces" in capsys.readouterr().out


RAW = os.fsdecode(b"caf\xe9.jpg")
"""A name that is not UTF-8."""
raw_names = pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset of one image, `set/labels.jsonl`, in the working directory."""
    monkeypatch.chdir(tmp_path)
    draw("set/a.jpg")
    name("a.jpg")


def draw(path: str) -> bytes:
    """Writes an image of 64 x 48 px, and gives the bytes of its file."""
    pixels = np.random.default_rng(len(path)).integers(0, 255, (6, 8, 3), np.uint8)
    data = cv2.imencode(".jpg", cv2.resize(pixels, (64, 48)))[1].tobytes()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
    return data


def name(*names: str) -> None:
    """Writes `set/labels.jsonl`."""
    entries = [{"image": name, "width": 64, "height": 48, "boxes": []} for name in names]
    Path("set/labels.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))


def fails(arguments: str, code: int, message: str, capsys: Captured) -> None:
    capsys.readouterr()
    assert main(["data", *arguments.split()]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("check nowhere", 1, "nowhere"),
        ("check set --format cocoo", 2, "'cocoo' is not a format"),
        ("check set --labels-onl", 2, "--labels-only"),
        ("check set --out new --threads -1", 2, '"-1" for --threads. Must be >= 0'),
        ("check set --out new --threads 1025", 2, '"1025" for --threads. Must be <= 1024'),
        ("check set --out new --samples 0", 2, '"0" for --samples. Must be >= 1'),
        ("check set --out new --samples 725", 2, '"725" for --samples. Must be <= 724'),
        ("check set --out new --seed -1", 2, '"-1" for --seed. Must be >= 0'),
        ("convert set --to cvat --out new", 2, "cvat is only read; write one of jsonl, wider"),
        ("convert set --to cocoo --out new", 2, "'cocoo' is not a format"),
        ("convert set --to yolo --out set", 1, "set is not empty; give a new folder"),
    ],
)
def test_a_wrong_value_is_named(arguments: str, code: int, message: str, capsys: Captured) -> None:
    fails(arguments, code, message, capsys)
    assert not Path("new").exists()


@pytest.mark.usefixtures("small")
def test_a_check_replaces_no_file_of_the_set(capsys: Captured) -> None:
    mine = draw("set/contact_sheet.jpg")
    name("contact_sheet.jpg")
    Path("link").symlink_to("set")
    for out in ("set", "link"):
        message = f"{out} is among the images of the dataset, in set; give a folder elsewhere"
        fails(f"check set --out {out}", 2, message, capsys)
    assert not Path("set/findings.csv").exists()
    assert Path("set/contact_sheet.jpg").read_bytes() == mine
    table = "image,x1,y1,x2,y2\nelsewhere/a.jpg,,,,\n"
    draw("set/elsewhere/a.jpg")
    Path("set/findings.csv").write_text(table)
    fails("check set/findings.csv --out set --labels-only", 2, "set/findings.csv would", capsys)
    assert Path("set/findings.csv").read_text() == table


@pytest.mark.usefixtures("small")
def test_a_check_adds_no_image_to_the_set(capsys: Captured) -> None:
    draw("flat/a.jpg")
    Path("flat/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    for out in ("flat", "flat/look"):
        fails(f"check flat --out {out}", 2, f"{out} is among the images", capsys)
    assert main(["data", "convert", "flat", "--to", "yolo", "--out", "tree"]) == 0
    assert main(["data", "check", "tree", "--out", "tree/look"]) == 0
    fails("check tree --out tree/images/look", 2, "in tree/images; give", capsys)
    fails("check tree --images flat --out flat/look", 2, "in flat; give", capsys)
    assert len(read_dataset(Path("flat"))) == len(read_dataset(Path("tree"))) == 1


@raw_names
@pytest.mark.usefixtures("small")
def test_names_that_are_not_utf8_are_kept_or_refused(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    name(RAW)
    assert main(["data", "check", "set", "--out", "look"]) == 1
    assert b"  set/caf\xe9.jpg: no such file" in capsysbinary.readouterr().out
    assert b"missing image,set/caf\xe9.jpg," in Path("look/findings.csv").read_bytes()
    draw(f"set/{RAW}")
    assert main(["data", "convert", "set", "--to", "voc", "--out", "voc"]) == 1
    message = b"error: the name or source of caf\xe9.jpg is not UTF-8, which Pascal VOC needs"
    assert capsysbinary.readouterr().err.startswith(message)
    assert not Path("voc").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("command", ["csv --out new/set.csv --copy", "yolo --out new --copy"])
def test_what_is_not_an_image_is_not_copied(command: str, capsys: Captured) -> None:
    Path("secret").write_text("root:x:0:0:root:/root:/bin/bash\n")
    name("a.jpg", "../secret")
    message = "repair it, or remove it from the set"
    fails(f"convert set --to {command}", 1, message, capsys)
    assert not [path for path in Path().rglob("*") if path.is_file() and "new" in path.parts]


@pytest.mark.usefixtures("small")
def test_the_largest_sheet_can_be_written() -> None:
    name(*(f"{number}.jpg" for number in range(MOST_SAMPLES + 1)))
    assert main(["data", "check", "set", "--out", "look", "--samples", str(MOST_SAMPLES)]) == 1
    assert Path("look/contact_sheet.jpg").is_file()


@pytest.mark.usefixtures("small")
def test_an_empty_folder_is_filled_from_within(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    assert main(["data", "convert", "../set", "--to", "yolo", "--out", "."]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["data.yaml", "images", "labels"]
    assert sorted(path.name for path in Path("..").iterdir()) == ["empty", "set"]
