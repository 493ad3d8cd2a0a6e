from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.cli.app import main
from extd.data.datasets import FORMATS
from extd.images import read_image

Captured = pytest.CaptureFixture[str]

COMMANDS = {
    "check": "PATH --format --images --out --labels-only --samples --seed --threads",
    "convert": "PATH --to --out --from --images --copy",
    "pack": "PATH --out --parts --max-mib --format --images --encoding --quality --smallest-face "
    "--longest --threads",
    "unpack": "PARTS --out",
    "widerface": "--root --only --mirror",
}


def entry(name: str, *boxes: list[float], **more: object) -> dict[str, object]:
    return {"image": name, "width": 320, "height": 240, "boxes": boxes, "ignore": [], **more}


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of three sound pictures, `faces/labels.jsonl`, in the working directory."""
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


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_describes_every_option(command: str, capsys: Captured) -> None:
    assert main(["data", command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: extd data {command} ")
    for option in COMMANDS[command].split():
        rows = [line for line in shown.splitlines() if f" {option} " in line and "│" in line]
        assert rows, option
        assert " " in rows[0].strip("│* ").removeprefix(option).strip(), option


def test_a_sound_set_is_described(faces: Path, capsys: Captured) -> None:
    assert main(["data", "check", str(faces)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == (
        "faces/labels.jsonl: 3 pictures, 1 of them without faces; 3 faces, 1 ignored region"
    )
    cells = [line.split() for line in lines]
    assert ["4-8", "1", "#" * 40] in cells
    assert ["<", "4", "0"] in cells
    assert ["street", "2", "3", "0", "1", "0", "0", "1", "1", "0", "0", "0", "0"] in cells
    assert ["home", "1", "0", *"000000000", "1"] in cells
    assert "nothing is wrong" in lines


def test_everything_wrong_is_named(faces: Path, capsys: Captured) -> None:
    Path("faces/broken.png").write_text("no picture")
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
        "faces/b.png: 320 x 240 px, but labelled 300 x 240",
        "faces/same.png: 320 x 240 px, but labelled 300 x 240",
        "faces/a.png: listed before",
        "faces/same.png: the same pixels as faces/b.png",
        "faces/a.png: [10, 10, 10, 50], face 1: 0 x 40 px",
        "faces/a.png: [400, 10, 410, 20], face 1: 90 px beyond the right of 320 x 240 px",
        "faces/a.png: [300, 10, 330, 20], face 2: 10 px beyond the right of 320 x 240 px",
        "faces/a.png: [5, 5, 9, 9], face 4 is face 3 again",
    ]
    assert len(named) == len(expected)
    for line, start in zip(named, expected, strict=True):
        assert line.startswith(start)
    assert "10 findings" in out.splitlines()


def test_labels_only_opens_no_picture(faces: Path, capsys: Captured) -> None:
    label(entry("missing.png", [10, 10, 40, 50]))
    assert main(["data", "check", str(faces), "--labels-only", "--out", "look"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    assert sorted(path.name for path in Path("look").iterdir()) == ["findings.csv", "sizes.png"]


def test_a_wrong_folder_of_pictures_is_hinted_at(faces: Path, capsys: Captured) -> None:
    Path("elsewhere").mkdir()
    assert main(["data", "check", str(faces), "--images", "elsewhere"]) == 1
    out = capsys.readouterr().out
    assert "missing picture: 3" in out
    assert "no picture is there: give --images" in out
    assert main(["data", "check", str(faces), "--images", "faces"]) == 0
    assert "--images" not in capsys.readouterr().out


def test_what_the_terminal_leaves_out_is_in_the_file(faces: Path, capsys: Captured) -> None:
    label(entry("a.png", *([7 + n, 7, 7 + n, 9] for n in range(14))))
    assert main(["data", "check", str(faces), "--out", "new/look"]) == 1
    out = capsys.readouterr().out
    assert out.count("0 x 2 px") == 10
    assert "and 4 more, in new/look/findings.csv" in out
    assert Path("new/look/findings.csv").read_text().count("0 x 2 px") == 14
    assert main(["data", "check", str(faces)]) == 1
    assert capsys.readouterr().out.count("0 x 2 px") == 14
    for name in ("sizes.png", "sheet.jpg"):
        assert f"written: new/look/{name}" in out
        assert read_image(Path("new/look") / name).std() > 5


def test_a_set_is_packed_in_parts_and_unpacked(faces: Path, capsys: Captured) -> None:
    command = ["data", "pack", str(faces), "--parts", "--max-mib", "0.005", "--out", "packed"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "packed: 3 pictures with 3 faces, 0 shrunk, 0 as they were"
    parts = sorted(str(path) for path in Path("packed").iterdir())
    assert [line.split(",")[0] for line in lines if line.startswith("written")] == [
        f"written: {part}" for part in parts
    ]
    assert lines[-1].endswith("extd data unpack packed/part-*.zip --out FOLDER")
    assert main(["data", "unpack", *parts, "--out", "whole"]) == 0
    assert capsys.readouterr().out == "whole/labels.jsonl has 3 pictures\n"
    assert main(["data", "check", "whole/labels.jsonl"]) == 0


def test_a_set_is_packed_as_a_folder(faces: Path, capsys: Captured) -> None:
    command = ["data", "pack", str(faces), "--out", "small", "--encoding", "webp"]
    assert main([*command, "--smallest-face", "10", "--longest", "100"]) == 0
    out = capsys.readouterr().out
    assert "1 shrunk" in out
    assert "written: small/labels.jsonl" in out
    assert read_image("small/images/b.webp").shape == (75, 100, 3)


def test_a_picture_that_cannot_be_packed_is_named(faces: Path, capsys: Captured) -> None:
    label(entry("a.png"), entry("missing.png"))
    assert main(["data", "pack", str(faces), "--out", "small"]) == 1
    out, err = capsys.readouterr()
    assert err == "error: there is no file faces/missing.png\n"
    assert out.startswith("packed: 1 picture with 0 faces")


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
    assert written == f"written: {out}, 3 pictures with 3 faces"
    expected = {"wider": ["sources"], "yolo": ["ignored", "sources"]}.get(layout, [])
    assert len(lost) == len(expected)
    for line, word in zip(lost, expected, strict=True):
        assert line.startswith("lost: ")
        assert word in line
    assert main(["data", "check", out, "--format", layout]) == 0
    assert "3 pictures, 1 of them without faces; 3 faces" in capsys.readouterr().out


def test_every_format_is_named_in_the_help(capsys: Captured) -> None:
    for command in ("check", "convert", "pack"):
        assert main(["data", command, "--help"]) == 0
        words = set(capsys.readouterr().out.replace(",", " ").replace(".", " ").split())
        assert words >= set(FORMATS), command


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "nowhere"], 1, "nowhere"),
        (["check", "faces", "--format", "cocoo"], 2, "'cocoo' is no format"),
        (["check", "faces", "--samples", "0"], 2, "--samples is 0; give 1 or more"),
        (["check", "faces", "--labels-onl"], 2, "--labels-only"),
        (["pack", "faces", "--out", "x", "--max-mib", "5"], 2, "give --parts too"),
        (["pack", "faces", "--out", "x", "--quality", "0"], 2, "quality is 0; give 1 to 100"),
        (["pack", "faces", "--out", "faces"], 1, "faces is not empty; give a new folder"),
        (["unpack", "nowhere.zip", "--out", "x"], 1, "there is no archive nowhere.zip"),
        (["widerface", "--root", "x", "--only", "WIDER_vall"], 2, "did you mean WIDER_val?"),
        (["widerface", "--root", "x", "--mirror", "ftp://x"], 1, "ftp://x is no address"),
        (["convert", "faces", "--to", "cocoo", "--out", "x"], 2, "'cocoo' is no format"),
    ],
)
def test_a_wrong_value_is_named(
    faces: Path, arguments: list[str], code: int, message: str, capsys: Captured
) -> None:
    assert main(["data", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server on this machine that has an `eval_tools.zip`."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "mirror"
    folder.mkdir()
    with zipfile.ZipFile(folder / "eval_tools.zip", "w") as bundle:
        bundle.writestr("eval_tools/wider_eval.m", "% code")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    serve = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_wider_face_is_fetched_and_unpacked(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["data", "widerface", "--root", "wider", "--only", "eval_tools", "--mirror", mirror]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "wider/eval_tools: fetched and unpacked"
    assert out.splitlines()[1].endswith("wider/eval_tools.zip")
    warnings = err.splitlines()
    assert all(line.startswith("warning: ") for line in warnings)
    assert "unverified" in warnings[0]
    assert "holds no wider_face_val.mat" in warnings[1]
    assert Path("wider/eval_tools/wider_eval.m").read_text() == "% code"
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("wider/eval_tools: already there\n")

    assert main(["data", "widerface", "--root", "wider", "--mirror", mirror]) == 1
    out, err = capsys.readouterr()
    failed = [line.split(".zip")[0] for line in err.splitlines()]
    names = ("WIDER_train", "WIDER_val", "wider_face_split")
    assert failed == [f"error: {mirror}/{name}" for name in names]
    assert "already there" in out
