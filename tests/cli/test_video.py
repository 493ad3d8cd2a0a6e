from __future__ import annotations

import csv
import errno
import io
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import extd
from extd.cli.app import main
from extd.cli.terminal import clock
from extd.detector import Detector
from extd.images import read_image
from extd.media.frames import open_source
from extd.media.video import Fault, Frame

Captured = pytest.CaptureFixture[str]
Film = Callable[..., Path]


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """Writes a silent video of 25 frames a second into the working directory.

    Its frames have a face of 12 px for the toy detector where a level of red is given for them.
    """
    monkeypatch.chdir(tmp_path)

    def write(name: str, reds: Sequence[int]) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(name, "w") as output:
            output.metadata["comment"] = "taken by me"
            pictures = output.add_stream("libx264", rate=25, options={"crf": "1", "g": "1"})
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for index, red in enumerate(reds):
                image = np.zeros((48, 64, 3), np.uint8)
                image[24:32, 8:16] = red, 6 if red else 0, 0
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                output.mux(pictures.encode(frame))
            output.mux(pictures.encode())
        return path

    return write


def reds(path: Path | str) -> list[bool]:
    """Whether the face is to be seen in each frame of a video."""
    frames = [item for item in open_source(Path(path)) if isinstance(item, Frame)]
    return [bool(frame.image[28, 12, 0] > 30) for frame in frames]


def blur(*arguments: str, model: str) -> int:
    return main(["blur", "--model", model, "--method", "solid", *arguments])


def test_images_and_videos_of_a_tree_are_covered(film: Film, toy: str, capsys: Captured) -> None:
    film("album/a.mp4", [255] * 4)
    film("album/trip/b.avi", [255] * 3)
    (Path("album") / "notes.txt").write_text("left alone")
    assert blur("album", "--out", "new", model=toy) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "faces  file",
        "    4  album/a.mp4, 4 frames",
        "    3  album/trip/b.avi, 3 frames",
        "7 faces in 2 videos; left alone: 1 .txt",
        "written: new",
    ]
    assert not any(reds("new/a.mp4") + reds("new/trip/b.avi.mkv"))
    assert b"taken by me" not in Path("new/a.mp4").read_bytes()
    assert blur("album/a.mp4", "--out", "kept", "--keep-metadata", model=toy) == 0
    assert b"taken by me" in Path("kept/a.mp4").read_bytes()


def test_a_face_that_is_missed_stays_covered(film: Film, toy: str, capsys: Captured) -> None:
    # A level of 64 is below the threshold, but to be seen: the detector misses it.
    levels = [64, 64, 255, 64, 64, 255, 64, 64, 64]
    film("a.mp4", levels)
    assert blur("a.mp4", "--out", "new", "--hold", "2", "--no-check", model=toy) == 0
    assert reds("new/a.mp4") == [False] * 8 + [True]
    assert blur("a.mp4", "--out", "bare", "--hold", "0", "--no-check", model=toy) == 0
    assert reds("bare/a.mp4") == [level == 64 for level in levels]
    assert capsys.readouterr().err == ""
    assert blur("a.mp4", "--out", "checked", "--hold", "0", model=toy) == 0
    assert reds("checked/a.mp4") == [False] * 9
    out, err = capsys.readouterr()
    assert "a.mp4: also covered after a second look in 7 frames: 0:00.00: 0.2" in err
    assert "and 4 more" in err
    assert "2 faces in 1 video" in out


def test_a_real_face_that_is_not_found_for_a_moment_stays_covered(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo = cv2.resize(read_image(examples / "astronaut.jpg"), (128, 128))
    (face,) = Detector().detect(photo)
    x1, y1, x2, y2 = map(round, face.box)
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    missed = np.full_like(photo, 128)
    with av.open("a.mp4", "w") as output:
        pictures = output.add_stream("libx264", rate=25, options={"crf": "10"})
        pictures.width, pictures.height, pictures.pix_fmt = 128, 128, "yuv420p"
        for image in (photo, missed, missed, photo):
            pixels = np.asarray(image, np.uint8)
            output.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(pictures.encode())
    covered = {}
    for hold in ("0", "2"):
        assert main(["blur", "a.mp4", "--out", hold, "--hold", hold, "--method", "solid"]) == 0
        frames = [item for item in open_source(Path(hold, "a.mp4")) if isinstance(item, Frame)]
        covered[hold] = [bool(frame.image[y, x].max() < 30) for frame in frames]
    assert covered == {"0": [True, False, False, True], "2": [True] * 4}


def test_a_broken_video_is_kept_as_far_as_it_goes(film: Film, toy: str, capsys: Captured) -> None:
    data = film("a.mkv", [255] * 50).read_bytes()
    Path("a.mkv").write_bytes(data[: len(data) // 2])
    Path("b.mp4").write_text("text")
    assert blur("a.mkv", "b.mp4", "--out", "new", model=toy) == 1
    out, err = capsys.readouterr()
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        "a.mkv",
        "b.mp4 is broken or not a video",
    ]
    assert "ends after" in err
    assert "0 videos, 2 failed" in out
    assert [path.name for path in Path("new").iterdir()] == ["a.mkv"]
    assert 10 < len(reds("new/a.mkv")) < 40
    assert not any(reds("new/a.mkv"))


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, which a shell turns off for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("heard")
def test_ctrl_c_and_sigterm_finish_the_video(
    film: Film,
    toy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    film("a.mp4", [255] * 30)
    detect = Detector.detect
    calls = []

    def press_ctrl_c(self: Detector, *arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 10:
            signal.raise_signal(number)
        return detect(self, *arguments)

    monkeypatch.setattr(Detector, "detect", press_ctrl_c)
    assert blur("a.mp4", "--out", "new", "--no-check", model=toy) == 130
    assert "interrupted" in capsys.readouterr().err
    assert reds("new/a.mp4") == [False] * 10
    assert not any(isinstance(item, Fault) for item in open_source(Path("new/a.mp4")))
    assert signal.getsignal(number) is before


def test_detected_faces_are_drawn_and_told_frame_by_frame(film: Film, toy: str) -> None:
    film("a.mp4", [255, 0, 255, 255, 0])
    arguments = ["detect", "a.mp4", "--model", toy, "--every", "2", "--out", "boxed"]
    assert main([*arguments, "--json", "lines", "--csv", "rows"]) == 0
    told = [json.loads(line) for line in Path("lines").read_text().splitlines()]
    assert [(line["frame"], line["time"], len(line["faces"])) for line in told] == [
        (0, 0, 1),
        (2, 0.08, 1),
        (4, 0.16, 0),
    ]
    assert {(line["path"], line["width"], line["height"]) for line in told} == {("a.mp4", 64, 48)}
    rows = list(csv.DictReader(Path("rows").read_text().splitlines()))
    assert [row["frame"] for row in rows] == ["0", "2"]
    assert [float(rows[0][side]) for side in ("x1", "y1", "x2", "y2")] == pytest.approx(
        told[0]["faces"][0]["box"]
    )
    frames = list(open_source(Path("boxed/a.mp4")))
    assert [frame.time for frame in frames] == [0, 0.08, 0.16]
    # Faces are marked in green.
    greens = [frame.image[:, :24, 1].max() for frame in frames]
    assert [green > 150 for green in greens] == [True, True, False]


def test_an_error_of_a_video_has_its_line(film: Film, toy: str) -> None:
    Path("a.mp4").write_text("text")
    assert main(["detect", "a.mp4", "--model", toy, "--json", "lines"]) == 1
    error = "a.mp4 is broken or not a video"
    assert json.loads(Path("lines").read_text()) == {"path": "a.mp4", "error": error}


def test_python_blurs_a_video_in_one_call(film: Film, toy: str) -> None:
    path, calls = film("a.mp4", [64, 255, 64, 0]), []
    options = extd.BlurOptions(extd.AnonymizeOptions("solid"), gap=0)
    report = extd.blur_video(
        path,
        "b.mp4",
        Detector(toy),
        replace(options, check_threshold=None),
        on_frame=lambda frame, faces, total: calls.append((frame.index, len(faces), total)),
    )
    assert calls == [(0, 0, 4), (1, 1, 4), (2, 0, 4), (3, 0, 4)]
    assert (report.frames, report.faces, report.error) == (4, 1, None)
    assert reds("b.mp4") == [True, False, True, False]
    report = extd.blur_video(path, "b.mp4", Detector(toy), options)
    assert (report.again_frames, report.again_faces) == (2, 2)
    assert [round(time, 2) for _, time in report.again] == [0, 0.08]
    assert not any(reds("b.mp4"))
    Path("text.mp4").write_text("text")
    with pytest.raises(ValueError, match=r"text\.mp4 is broken or not a video"):
        extd.blur_video("text.mp4", "c.mp4", Detector(toy))
    assert not Path("c.mp4").exists()


def test_a_video_is_opened_once(film: Film, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film("a.mp4", [255] * 3)
    opened: list[str] = []
    open_file: Any = av.open

    def count(file: str, mode: str = "r", **options: Any) -> object:
        opened.append(mode)
        return open_file(file, mode, **options)

    monkeypatch.setattr(av, "open", count)
    extd.blur_video(path, "b.mp4", Detector(toy))
    assert opened == ["r", "w"]


def test_audio_is_copied_or_dropped_and_notes_tell_of_tracks(
    film: Film, toy: str, capsys: Captured
) -> None:
    with av.open("a.mkv", "w") as output:
        tracks: list[Any] = [output.add_stream("mpeg4", rate=5) for _ in range(2)]
        for track in tracks:
            track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        sound: Any = output.add_stream("mp3", rate=44_100, layout="mono")
        black = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        for track in tracks:
            output.mux(track.encode(black) + track.encode())
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 9000), np.float32), "fltp", "mono")
        heard.sample_rate = 44_100
        output.mux(sound.encode(heard) + sound.encode())
    note = "note: a.mkv: video track 2 (mpeg4, 64 x 48 px) is left out\n"
    for arguments, kept in ((["--out", "new"], 1), (["--out", "mute", "--audio", "drop"], 0)):
        assert blur("a.mkv", *arguments, model=toy) == 0
        assert capsys.readouterr().err == note
        with av.open(f"{arguments[1]}/a.mkv") as written:
            assert (len(written.streams.video), len(written.streams.audio)) == (1, kept)
    assert main(["detect", "a.mkv", "--model", toy]) == 0
    assert capsys.readouterr().err == note


def test_a_list_of_paths_is_read_from_standard_input(
    film: Film, toy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    film("a b.mp4", [255])
    monkeypatch.setattr("sys.stdin", io.StringIO("a b.mp4\n"))
    assert blur("--out", "new", "--", "-", model=toy) == 0
    assert Path("new/a b.mp4").exists()


def test_videos_are_not_replaced(film: Film, toy: str, capsys: Captured) -> None:
    before = film("a.mp4", [255]).read_bytes()
    assert blur("a.mp4", "--in-place", model=toy) == 2
    assert blur("a.mp4", "--out", ".", model=toy) == 2
    assert blur("a.mp4", "--out", "new", "--hold", "-1", model=toy) == 2
    err = capsys.readouterr().err
    assert all(text in err for text in ("not replaced", "would replace", '-1" for --hold'))
    assert Path("a.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00.00"), (59.999, "0:59.99"), (3723.456, "1:02:03.45")]
)
def test_times_are_told_as_clocks_do(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_results_that_cannot_be_written_are_no_fault_of_a_video(
    film: Film, toy: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if "frame" in text:
                return len(text)
            raise OSError(errno.ENOSPC, "No space left on device")

    film("a.mp4", [255, 0])
    film("b.mp4", [255, 0])
    monkeypatch.setattr("extd.cli.outputs.open_results", lambda _: nullcontext(Full()))
    arguments = ["detect", "a.mp4", "b.mp4", "--model", toy, "--csv", "rows", "--out", "boxed"]
    assert main(arguments) == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"
    assert not list(Path("boxed").iterdir())
