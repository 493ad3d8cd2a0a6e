from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.images import read_image
from extd.media.frame import Fault, Frame
from extd.media.frames import newest, open_source
from extd.media.video import Span

Film = Callable[..., Path]


def draw(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((8, 9, 3), grey, np.uint8))
    return path


def test_pictures_and_videos_of_a_folder_come_as_frames(film: Film, tmp_path: Path) -> None:
    draw(tmp_path / "trip" / "z.png", 7)
    draw(tmp_path / "b.png", 9)
    film("c.mp4", 3)
    (tmp_path / "a.jpg").write_text("text")
    found = [
        (Path(item.name).name, item.index if isinstance(item, Frame) else str(item.error)[-30:])
        for item in open_source(tmp_path)
    ]
    assert [name for name, _ in found] == ["a.jpg", "b.png", "c.mp4", "c.mp4", "c.mp4", "z.png"]
    assert [place for _, place in found[1:]] == [0, 0, 1, 2, 0]
    frames = [item for item in open_source(tmp_path, Span(every=2)) if isinstance(item, Frame)]
    assert [frame.index for frame in frames] == [0, 0, 2, 0]
    assert (frames[0].image == read_image(tmp_path / "b.png")).all()


def test_a_list_and_a_glob_are_sources(film: Film, tmp_path: Path) -> None:
    pictures = [draw(tmp_path / name, 5) for name in ("b.png", "a.png")]
    assert [item.name for item in open_source(pictures)] == list(map(str, pictures))
    assert len(list(open_source(str(tmp_path / "*.png")))) == 2
    (missing,) = open_source(tmp_path / "c.png")
    assert isinstance(missing, Fault)
    assert isinstance(missing.error, FileNotFoundError)


def test_a_source_that_is_left_frees_its_file(film: Film) -> None:
    source = open_source(film("a.mp4", 30))
    next(source)
    files = Path("/proc/self/fd")
    if files.is_dir():
        assert any("a.mp4" in str(file.resolve()) for file in files.iterdir())
    source.close()  # type: ignore[attr-defined]
    if files.is_dir():
        assert not any("a.mp4" in str(file.resolve()) for file in files.iterdir())


class Counter:
    """A camera that has a frame whenever it is asked, each with its number, up to an end."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.count = 0
        self.released = False
        self.stepped = threading.Event()

    def read(self) -> tuple[bool, object]:
        if self.count == self.end:
            return False, None
        image = np.full((4, 4, 3), self.count, np.uint8)
        self.count += 1
        if self.count % 10 == 0:
            self.stepped.set()
            time.sleep(0.001)
        return True, image

    def release(self) -> None:
        self.released = True


def test_of_a_camera_the_newest_frame_is_given_and_the_last() -> None:
    camera = Counter(200)
    seen = []
    for frame in newest(camera, "camera:0"):
        assert int(frame.image[0, 0, 0]) == frame.index
        assert frame.name == "camera:0"
        seen.append((frame.index, frame.time))
        camera.stepped.clear()
        if len(seen) < 5:
            camera.stepped.wait()
    assert seen == sorted(seen)
    assert seen[-1][0] == 199
    # While each of these was looked at, at least ten more came.
    assert len(seen) < 200
    assert camera.released


def test_a_camera_that_is_left_is_released_and_its_thread_ends() -> None:
    camera = Counter(-1)
    frames = newest(camera, "camera:7")
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert camera.released
    assert not any("camera:7" in thread.name for thread in threading.enumerate())


def test_a_real_capture_is_read_to_its_end(film: Film) -> None:
    *_, last = newest(cv2.VideoCapture(str(film("a.mp4", 20))), "film")
    assert last.index == 19
    assert int(last.image[40, 40, 1]) == pytest.approx(76, abs=3)


def test_a_network_camera_that_stops_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Counter(5))
    *frames, last = open_source("rtsp://me:secret@door/1")
    assert {frame.name for frame in frames} == {"rtsp://door/1"}
    assert isinstance(last, Fault)
    assert "rtsp://door/1 stopped giving pictures" in str(last.error)
    assert all(isinstance(frame, Frame) for frame in open_source("camera:0"))


def test_a_camera_that_is_not_there_is_told() -> None:
    (fault,) = open_source("rtsp://127.0.0.1:9/nothing")
    assert isinstance(fault, Fault)
    assert "rtsp://127.0.0.1:9/nothing gives no pictures" in str(fault.error)
    (fault,) = open_source("rtsp://me:secret@127.0.0.1:9/nothing")
    assert isinstance(fault, Fault)
    assert fault.name == "rtsp://127.0.0.1:9/nothing"
    assert "secret" not in str(fault.error)
    with pytest.raises(ValueError, match="camera:front is no camera"):
        next(open_source("camera:front"))
