from __future__ import annotations

import csv
import itertools
import json
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import av
import numpy as np
import pytest

from extd.cli.app import main
from extd.detector import Detector

Captured = pytest.CaptureFixture[str]


def show(monkeypatch: pytest.MonkeyPatch, count: int | None) -> None:
    """Make the only camera one that shows a face in every other of so many frames."""

    def frames() -> Iterator[av.VideoFrame]:
        for index in range(count) if count is not None else itertools.count():
            image = np.zeros((48, 64, 3), np.uint8)
            if index % 2 == 0:
                image[24:32, 8:16] = 255, 6, 0
            yield av.VideoFrame.from_ndarray(image, format="rgb24")

    monkeypatch.setattr("extd.media.frames.open_camera", lambda _: nullcontext(frames()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, which a shell turns off for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_each_frame_that_is_looked_at_has_its_line(
    folder: Path, toy: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    show(monkeypatch, 40)
    arguments = ["detect", "camera:0", "--model", toy, "--json", "lines", "--csv", "rows"]
    assert main(arguments) == 0
    lines = [json.loads(line) for line in Path("lines").read_text().splitlines()]
    assert lines[-1]["frame"] == 39
    assert {line["path"] for line in lines} == {"camera:0"}
    assert [len(line["faces"]) for line in lines] == [1 - line["frame"] % 2 for line in lines]
    faces = sum(len(line["faces"]) for line in lines)
    out, _ = capsys.readouterr()
    noun = "face" if faces == 1 else "faces"
    assert f"{faces} {noun} in {len(lines)} frame" in out
    with Path("rows").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == faces


@pytest.mark.usefixtures("heard")
def test_ctrl_c_is_how_watching_ends(
    folder: Path, toy: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    show(monkeypatch, None)
    detect = Detector.detect
    calls = []

    def press_ctrl_c(self: Detector, *arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return detect(self, *arguments)

    monkeypatch.setattr(Detector, "detect", press_ctrl_c)
    assert main(["detect", "camera:1", "--model", toy, "--json", "-"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["camera:99999"], 2, "camera:99999 is no camera"),
        (["camera:front"], 2, "camera:front is no camera"),
        (["camera:"], 2, "camera: is no camera"),
        (["rtsp://"], 2, "rtsp:// names no host"),
        (["rtsps://me:secret@/stream"], 2, "rtsps:///stream names no host"),
        (["camera:0", "a.png"], 2, "a camera is watched alone"),
        (["camera:0", "--out", "boxed"], 2, "a camera is watched alone"),
        (["rtsp://127.0.0.1:9/nothing"], 1, "rtsp://127.0.0.1:9/nothing gives no images"),
    ],
)
def test_what_cannot_be_watched_is_told(
    folder: Path, toy: str, capsys: Captured, arguments: list[str], code: int, told: str
) -> None:
    assert main(["detect", *arguments, "--model", toy]) == code
    assert told in " ".join(capsys.readouterr().err.split())
