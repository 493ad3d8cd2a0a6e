from __future__ import annotations

import csv
import dataclasses
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extd.cli.app import main
from extd.cli.detect import detect
from extd.cli.inference import INFERENCE
from extd.data.datasets import read_dataset
from extd.detector import Detector, Options
from extd.evaluation.predictions import read_predictions
from extd.images import read_image

Draw = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


def test_the_table_of_one_image_has_a_line_a_face(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("a.png", 255, 153)
    assert main(["detect", "a.png", "--model", toy]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "a.png, 64 x 48 px"
    assert lines[2].split() == ["1.00", "6.0", "22.0", "18.0", "34.0"]
    assert lines[3].split() == ["0.60", "30.0", "22.0", "42.0", "34.0"]
    assert lines[4] == "2 faces in 1 image"


def test_the_table_of_several_images_has_a_line_each(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    draw("album/a.png", 204, 153)
    draw("album/trip/b [c].png")
    assert main(["detect", "album", "--model", toy]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split(maxsplit=2) for line in out.splitlines()[1:3]] == [
        ["2", "0.80", "album/a.png"],
        ["0", "-", "album/trip/b [c].png"],
    ]
    assert out.splitlines()[3] == "2 faces in 2 images"


@pytest.mark.parametrize(
    "command",
    [
        ["detect", "album"],
        ["crop", "album", "--out", "new"],
        ["blur", "album", "--out", "new"],
        ["blur", "album", "--in-place"],
    ],
)
def test_every_command_names_what_it_leaves_alone(
    draw: Draw, toy: str, capsys: Captured, command: list[str]
) -> None:
    draw("album/a.png")
    for name in ("a.txt", "b.txt", "c.xyz"):
        Path("album", name).touch()
    assert main([*command, "--model", toy]) == 0
    out, err = capsys.readouterr()
    assert "0 faces in 1 image; left alone: 2 .txt, 1 .xyz" in out
    assert err == ""


def test_with_results_on_standard_output_a_note_names_what_is_left_alone(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    draw("album/a.png")
    Path("album/a.txt").touch()
    assert main(["detect", "album", "--json", "-", "--model", toy]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["faces"] == []
    assert err == "note: left alone: 1 .txt\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png", "b.png", "--json"],
        ["a.png", "b.png", "--json", "-"],
        ["a.png", "--json=-", "b.png"],
        ["--json", "a.png", "b.png"],
        ["--json", "--flip", "a.png", "b.png"],
        ["--json", "--", "a.png", "b.png"],
    ],
)
def test_json_lines_alone_go_to_standard_output(
    draw: Draw, toy: str, capsys: Captured, arguments: list[str]
) -> None:
    draw("a.png", 255)
    draw("b.png")
    assert main(["detect", "--model", toy, *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["path"] for record in records] == ["a.png", "b.png"]
    faces = Detector(toy).detect("a.png")
    assert records[0] == {"path": "a.png", "width": 64, "height": 48, "faces": faces.to_dict()}
    assert records[1]["faces"] == []


def test_csv_holds_the_same_faces_as_json(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("a.png", 255, 153)
    draw("b.png", 153)
    command = ["detect", "a.png", "b.png", "--model", toy]
    assert main([*command, "--csv", "-", "--json", "new/faces.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = list(csv.DictReader(out.splitlines()))
    records = [json.loads(line) for line in Path("new/faces.jsonl").read_text().splitlines()]
    expected = [
        (record["path"], *face["box"], face["score"])
        for record in records
        for face in record["faces"]
    ]
    assert len(expected) == 3
    assert [
        (row["path"], *(float(row[key]) for key in ("x1", "y1", "x2", "y2", "score")))
        for row in rows
    ] == expected


def test_a_image_that_fails_is_reported_and_the_rest_goes_on(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    draw("a.png", 255)
    Path("broken.png").write_text("no picture")
    inputs = ["missing.png", "broken.png", "a.png"]
    assert main(["detect", *inputs, "--model", toy, "--json"]) == 1
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["path"] for record in records] == inputs
    assert [set(record) for record in records[:2]] == [{"path", "error"}] * 2
    assert len(records[2]["faces"]) == 1
    errors = err.splitlines()
    assert [error.startswith("error: ") for error in errors] == [True, True]
    assert "missing.png" in errors[0]
    assert "broken.png" in errors[1]


def test_annotated_images_keep_the_folders_and_never_meet(draw: Draw, toy: str) -> None:
    inputs = [
        draw("album/trip/a.png", 255),
        draw("one/b.png", 255),
        draw("two/b.png"),
        draw("c.bmp", 255),
    ]
    before = [path.read_bytes() for path in inputs]
    command = ["detect", "album", "one/b.png", "two/b.png", "c.bmp", "--model", toy]
    assert main([*command, "--out", "new/boxed"]) == 0
    written = sorted(str(path.relative_to("new/boxed")) for path in Path("new/boxed").rglob("*.*"))
    assert written == ["b-2.png", "b.png", "c.bmp.png", "trip/a.png"]
    assert [path.read_bytes() for path in inputs] == before
    framed = read_image("new/boxed/b.png")
    assert framed.shape == (48, 64, 3)
    assert not np.array_equal(framed, read_image("one/b.png"))
    assert np.array_equal(read_image("new/boxed/b-2.png"), read_image("two/b.png"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["album", "--out", "album"], "would replace the image album/a.png"),
        (["album", "--json=album/a.png"], "would replace the image album/a.png"),
        (["album", "--csv=new.JPG"], "would replace the image new.JPG"),
        (["album", "--csv=album/photo"], "would replace the image album/photo"),
        (["album", "--coco=new.heic"], "would replace the image new.heic"),
        (["album", "--json=album/link.jsonl"], "would replace the image album/link.jsonl"),
        (["album", "--yolo", "x", "--wider", "./x"], "--yolo and --wider both go to x"),
        (["album", "--csv", "--json"], "--json and --csv both go to -"),
        (["album", "--csv", "x", "--json", "x"], "--json and --csv both go to x"),
        (["album", "--threshold", "1.5"], "threshold is 1.5"),
        (["album", "--threshold", "high"], '"high"'),
        (["album", "--scales", "1,two"], "--scales: '1,two' is not a list of numbers"),
        (["album", "--out", "album/a.png"], '"album/a.png" for --out. It is a file; give a folder'),
        (
            ["album", "--yolo", "album/a.png"],
            '"album/a.png" for --yolo. It is a file; give a folder',
        ),
        (["album", "--coco", "x", "--json", "x"], "--json and --coco both go to x"),
        (["album", "--rotations", "0,up"], "--rotations: '0,up' is not a list of numbers"),
        (["album", "--rotations", "45"], "rotations is 45; give 0, 90, 180 or 270"),
        (["album", "--tile", "100"], "tile is 100; give 0 or 256 or more"),
        (["album", "--overlap", "0.6"], "overlap is 0.6; give above 0, up to 0.5"),
        (["album", "--max-pixels", "0"], '"0" for --max-pixels. Must be >= 1'),
        (["album", "--scales", "0"], "scales is 0"),
        (["album", "--longest", "0"], "longest is 0"),
        (["album", "--threads", "-1"], "threads is -1"),
        (["album", "--model", "extd-fpn-32-prelv"], "did you mean 'extd-fpn-32-prelu'"),
        (["album", "--model", "missing.onnx"], "missing.onnx"),
        (["album", "--model", "model.safetensors"], "extd export model.safetensors model.onnx"),
        (["album", "--provider", "NoProvider"], "NoProvider"),
        (["album", "--treshold", "0.5"], "Did you mean --threshold?"),
        (["album", "--min-faces", "9"], "Did you mean --min-face?"),
        ([], "FILES requires an argument"),
    ],
)
def test_wrong_usage_is_explained_in_one_line(
    draw: Draw, toy: str, capsys: Captured, arguments: list[str], message: str
) -> None:
    picture = draw("album/a.png", 255)
    # A picture and a link to one, of no picture's name.
    shutil.copy(picture, "album/photo")
    Path("album/link.jsonl").symlink_to("a.png")
    before = picture.read_bytes()
    model = [] if "--model" in arguments else ["--model", toy]
    assert main(["detect", *arguments, *model]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert picture.read_bytes() == before
    assert set(Path().rglob("*.*")) == {picture, Path("album/link.jsonl")}


def test_options_say_what_to_look_for(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("a.png", 255, 51)

    def found(*arguments: str) -> int:
        assert main(["detect", "a.png", "--model", toy, "--json", *arguments]) == 0
        return len(json.loads(capsys.readouterr().out)["faces"])

    assert found() == 1
    assert found("--threshold", "0.1") == 2
    assert found("--threshold", "0.1", "--max-faces", "1") == 1
    assert found("--min-face", "12") == 1
    assert found("--min-face", "12.5") == 0
    assert found("--longest", "32", "--min-face", "20") == 1
    assert found("--scales", "1,0.25", "--min-face", "40") == 1
    assert found("--scales", "1", "--scales", "0.25", "--min-face", "40") == 1
    assert found("--rotations", "0,90,180,270", "--tile", "256", "--overlap", "0.5") == 1


def test_defaults_are_those_of_the_library() -> None:
    parameters = inspect.signature(detect).parameters
    for field in dataclasses.fields(Options):
        if hasattr(INFERENCE, field.name):
            assert getattr(INFERENCE, field.name) == getattr(Options(), field.name)
        if field.name in parameters:
            assert parameters[field.name].default == getattr(Options(), field.name)
    assert INFERENCE.machine.threads == inspect.signature(Detector).parameters["threads"].default


@pytest.mark.parametrize("kind", ["--coco", "--yolo", "--wider"])
def test_other_programs_formats_are_for_images(
    draw: Draw, toy: str, capsys: Captured, kind: str
) -> None:
    draw("a.png", 255)
    Path("film.mp4").touch()
    assert main(["detect", "a.png", "film.mp4", kind, "new", "--model", toy]) == 2
    assert "images only" in capsys.readouterr().err
    assert not Path("new").exists()


def test_coco_yolo_and_wider_are_read_back(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("album/trip/a.png", 255, 153)
    draw("album/home/b.png")
    draw("album/home/Gr\u00fc\u00dfe.png", 204)
    Path("album/home/c.png").write_text("no picture")
    targets = ["--coco", "new/faces.json", "--yolo", "labels", "--wider", "wider"]
    assert main(["detect", "album", *targets, "--model", toy]) == 1
    written = capsys.readouterr().out.splitlines()[-3:]
    assert written == ["written: new/faces.json", "written: labels", "written: wider"]
    expected = {
        Path(name): Detector(toy).detect(f"album/{name}")
        for name in ("trip/a.png", "home/b.png", "home/Gr\u00fc\u00dfe.png")
    }

    # `file_name` is relative to the file, so no folder has to be named.
    coco = {picture.path.resolve(): picture for picture in read_dataset(Path("new/faces.json"))}
    labels = read_dataset(Path("labels"), "yolo", Path("album"))
    yolo = {sample.path: sample for sample in labels}
    wider = read_predictions(Path("wider"))
    assert len(coco) == len(wider) == len(list(Path("labels").rglob("*.txt"))) == 3
    for name, faces in expected.items():
        path = Path("album", name)
        assert np.allclose(coco[path.resolve()].boxes, faces.boxes, atol=0.02)
        assert np.allclose(yolo[path].boxes, faces.boxes, atol=0.001)
        found = wider[name.with_suffix("").as_posix()]
        assert np.allclose(found.boxes[:, :2], faces.boxes[:, :2], atol=0.02)
        assert np.allclose(found.scores, faces.scores, atol=1e-6)


def test_two_images_with_one_text_file_are_refused(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("album/a.png", 255)
    draw("album/a.jpg")
    assert main(["detect", "album", "--yolo", "labels", "--model", toy]) == 2
    assert "a.jpg and a.png would have the same text file" in capsys.readouterr().err


def test_ctrl_c_ends_at_once_and_keeps_the_lines_so_far(
    draw: Draw, toy: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        draw(name, 255)
    printed = []

    def stop_at_third(line: str, _: object) -> None:
        printed.append(line)
        if len(printed) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("extd.cli.files.print_line", stop_at_third)
    targets = ["--json", "faces.jsonl", "--coco", "faces.json"]
    assert main(["detect", ".", "--model", toy, *targets]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert len(json.loads(Path("faces.json").read_text())["images"]) == 2
    lines = Path("faces.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["a.png", "b.png"]


@pytest.mark.parametrize("options", [["--json"], []], ids=["json", "table"])
def test_a_reader_that_leaves_ends_the_command_quietly(
    draw: Draw, toy: str, options: list[str]
) -> None:
    draw("a.png", 255)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "extd", "detect", "a.png", "--model", toy, *options]
    try:
        result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert result.returncode == 141
    assert result.stderr == b""


@pytest.mark.skipif(sys.platform == "darwin", reason="file names there are UTF-8")
def test_file_names_of_any_bytes_pass_through(draw: Draw, toy: str) -> None:
    name = b"caf\xe9.png"
    draw("a.png", 255).rename(os.fsdecode(name))
    command = [sys.executable, "-m", "extd", "detect", ".", "--model", toy]
    table = subprocess.run(command, capture_output=True, check=True)
    assert table.stdout.startswith(name + b", 64 x 48 px\n")
    lines = subprocess.run([*command, "--csv"], capture_output=True, check=True)
    assert lines.stdout.splitlines()[1].startswith(name + b",64,48,")
    lines = subprocess.run([*command, "--json"], capture_output=True, check=True)
    assert os.fsencode(json.loads(lines.stdout)["path"]) == name
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    table = subprocess.run(
        [*command[:4], "-", *command[5:]], input=name, capture_output=True, check=True, env=strict
    )
    assert table.stdout.startswith(name + b", 64 x 48 px\n")


def test_letters_that_cannot_be_printed_are_told_by_number(draw: Draw, toy: str) -> None:
    draw("a.png", 255).rename("hö.png")
    result = subprocess.run(
        [sys.executable, "-m", "extd", "detect", "hö.png", "--model", toy],
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert result.stdout.startswith(b"h\\xf6.png, 64 x 48 px\n")


def test_a_second_run_leaves_the_results_of_the_first_alone(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    draw("album/a.png", 255)
    for _ in range(2):
        assert main(["detect", "album", "--out", "album/boxed", "--model", toy]) == 0
    assert [path.name for path in sorted(Path("album").rglob("*.png"))] == ["a.png", "a.png"]


def test_an_address_is_not_a_file(draw: Draw, toy: str, capsys: Captured) -> None:
    assert main(["detect", "https://example.org/a.jpg", "--model", toy]) == 1
    assert "download it first" in capsys.readouterr().err


def test_results_of_long_names_are_shortened(draw: Draw, toy: str) -> None:
    draw("a.bmp", 255).rename("a" * 255)
    draw("b.png", 255).rename("b" * 251 + ".png")
    files = ["a" * 255, "b" * 251 + ".png"]
    outputs = ["--out", "boxed", "--yolo", "labels", "--wider", "found"]
    assert main(["detect", *files, *outputs, "--model", toy]) == 0
    assert main(["blur", *files, "--out", "blurred", "--model", toy]) == 0
    assert main(["crop", *files, "--out", "crops", "--model", toy]) == 0
    for folder in ("boxed", "labels", "found", "blurred", "crops"):
        assert len(list(Path(folder).iterdir())) == 2
    assert Path("blurred", "b" * 251 + ".png").exists()
