from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extd.cli.app import main
from extd.detector import Detector
from extd.faces import Faces
from extd.images import read_image
from extd.media.crops import TEMPLATE

Draw = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    return main(["crop", *arguments])


def test_each_face_gets_a_file_that_tells_source_and_rank(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    draw("album/a.png", 153, 255)
    draw("album/trip/b.bmp", 255)
    draw("album/none.jpg")
    for _ in range(2):
        assert run("album", "--out", "album/faces", "--margin", "0", "--model", toy) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[-5:] == [
        "    2  album/a.png",
        "    0  album/none.jpg",
        "    1  album/trip/b.bmp",
        "3 faces in 3 images",
        "written: album/faces",
    ]
    faces = Path("album/faces")
    written = sorted(path.relative_to(faces).as_posix() for path in faces.rglob("*.*"))
    assert written == ["a-001.png", "a-002.png", "trip/b.bmp-001.png"]
    best = read_image(faces / "a-001.png")
    assert best.shape == (12, 12, 3)
    assert np.array_equal(best, read_image("album/a.png")[22:34, 30:42])


def test_margin_and_size_are_those_asked_for(draw: Draw, toy: str) -> None:
    draw("a.png", 255)
    assert run("a.png", "--out", "wide", "--margin", "0.5", "--square", "--model", toy) == 0
    assert read_image("wide/a-001.png").shape == (24, 24, 3)
    assert run("a.png", "--out", "large", "--min-face", "12.5", "--model", toy) == 0
    assert not Path("large").exists()


def test_a_video_is_reported_and_the_rest_goes_on(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("a.png", 255)
    assert run("film.mp4", "a.png", "--out", "new", "--model", toy) == 1
    out, err = capsys.readouterr()
    assert err == "error: film.mp4 is a video; give images\n"
    assert "1 face in 1 file, 1 failed" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["album"], "--out"),
        (["album", "one/b.png", "--out", "one"], "images to read in one"),
        (["album/a.png", "--out", "album"], "images to read in album"),
        (["album", "--out", "album/a.png"], "is a file"),
        (["album", "--out", "new", "--margin", "-1"], '"-1.0" for --margin'),
        (["album", "--out", "new", "--min-face", "-1"], "min_face is -1"),
    ],
)
def test_wrong_usage_is_explained(
    draw: Draw, toy: str, capsys: Captured, arguments: list[str], message: str
) -> None:
    pictures = {draw("album/a.png", 255), draw("one/b.png", 255)}
    assert run(*arguments, "--model", toy) == 2
    assert message in capsys.readouterr().err
    assert set(Path().rglob("*.*")) == pictures


def test_a_model_without_landmarks_cannot_align(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("a.png")
    assert run("a.png", "--out", "faces", "--align", "112", "--model", toy) == 2
    assert "--align needs landmarks" in capsys.readouterr().err


def test_a_face_that_cannot_be_aligned_is_left_out(
    draw: Draw, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw("a.png", 255)
    boxes = [(0.0, 0.0, 20.0, 20.0)] * 3
    landmarks = np.stack([TEMPLATE / 10, np.ones((5, 2)), TEMPLATE / 5])
    faces = Faces(boxes, [0.9, 0.8, 0.7], 64, 48, landmarks)
    monkeypatch.setattr(Detector, "detect", lambda *_: faces)
    assert run("a.png", "--out", "faces", "--align", "16") == 1
    out, err = capsys.readouterr()
    assert err == "error: a.png: face 2 cannot be aligned, its landmarks coincide\n"
    assert sorted(path.name for path in Path("faces").iterdir()) == ["a-001.png", "a-003.png"]
    assert read_image("faces/a-003.png").shape == (16, 16, 3)
    assert "2 faces in 1 image, 1 with a face not aligned\n" in out
