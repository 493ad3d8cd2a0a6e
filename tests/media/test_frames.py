from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count as count_from
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from extd.images import read_image
from extd.media.frames import newest, open_source
from extd.media.video import Fault, Frame, Span

Film = Callable[..., Path]


def draw(path: Path, gray: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((8, 9, 3), gray, np.uint8))
    return path


def test_images_and_videos_of_a_folder_come_as_frames(film: Film, tmp_path: Path) -> None:
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
    images = [draw(tmp_path / name, 5) for name in ("b.png", "a.png")]
    assert [item.name for item in open_source(images)] == list(map(str, images))
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
    source.close()
    if files.is_dir():
        assert not any("a.mp4" in str(file.resolve()) for file in files.iterdir())


class Counter:
    """The frames of a camera, each with its number as its gray, up to an end."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.stepped = threading.Event()

    def __iter__(self) -> Iterator[av.VideoFrame]:
        for count in count_from(0):
            if count == self.end:
                return
            image = np.full((4, 4, 3), count % 256, np.uint8)
            yield av.VideoFrame.from_ndarray(image, format="rgb24")
            if count % 10 == 9:
                self.stepped.set()
                time.sleep(0.001)


def use(monkeypatch: pytest.MonkeyPatch, camera: Counter) -> None:
    """Make `camera` the only camera."""
    monkeypatch.setattr("extd.media.frames.open_camera", lambda _: nullcontext(iter(camera)))


def test_a_camera_yields_its_newest_frame_and_the_last_one() -> None:
    camera = Counter(200)
    seen = []
    for frame in newest(iter(camera), "camera:0"):
        assert int(frame.image[0, 0, 0]) == frame.index
        assert frame.name == "camera:0"
        seen.append((frame.index, frame.time))
        camera.stepped.clear()
        if len(seen) < 5:
            camera.stepped.wait()
    assert seen == sorted(seen)
    assert seen[-1][0] == 199
    # While each of these was used, at least ten more came.
    assert len(seen) < 200


def test_the_thread_of_a_camera_ends_with_its_consumer() -> None:
    frames = newest(iter(Counter(-1)), "camera:7")
    next(frames)
    frames.close()
    assert not any("camera:7" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("error", [OSError("unplugged"), ZeroDivisionError("unplugged")])
def test_an_error_of_the_camera_reaches_the_consumer(error: Exception) -> None:
    def broken() -> Iterator[av.VideoFrame]:
        yield from Counter(1)
        raise error

    frames = newest(broken(), "camera:0")
    assert next(frames).index == 0
    with pytest.raises(type(error), match="unplugged"):
        next(frames)


def test_a_real_container_is_read_to_its_end(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film("a.mp4", 20)
    monkeypatch.setattr("extd.media.frames._device", lambda _: (str(path), None))
    *_, last = open_source("camera:0")
    assert isinstance(last, Frame)
    assert last.index == 19
    assert int(last.image[40, 40, 1]) == pytest.approx(76, abs=3)


def test_a_network_camera_that_stops_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Counter(5))
    *frames, last = open_source("rtsp://me:secret@door/1")
    assert {frame.name for frame in frames} == {"rtsp://door/1"}
    assert isinstance(last, Fault)
    assert "rtsp://door/1 stopped giving images" in str(last.error)
    assert all(isinstance(frame, Frame) for frame in open_source("camera:0"))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://me:secret@127.0.0.1:9/nothing", "rtsp://127.0.0.1:9/nothing"),
        ("camera:9999", "camera:9999"),
    ],
)
def test_a_missing_camera_is_reported_without_its_password(address: str, name: str) -> None:
    (fault,) = open_source(address)
    assert isinstance(fault, Fault)
    assert fault.name == name
    assert str(fault.error).startswith(f"{name} gives no images; is it there, and free? (")
    assert "secret" not in str(fault.error)


def test_a_span_chooses_frames_of_a_camera_by_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    black = np.zeros((1, 1, 3), np.uint8)
    frames = (Frame(black, "camera:0", index, index / 10) for index in range(20))
    use(monkeypatch, Counter(0))
    monkeypatch.setattr("extd.media.frames.newest", lambda *_: frames)
    chosen = list(open_source("camera:0", Span(0.5, 1.2, 3)))
    assert [item.index for item in chosen if isinstance(item, Frame)] == [5, 8, 11]
    assert len(chosen) == 3
    # The camera is released.
    assert next(frames, None) is None


def test_a_camera_has_a_number() -> None:
    with pytest.raises(ValueError, match="camera:front is no camera"):
        next(open_source("camera:front"))
