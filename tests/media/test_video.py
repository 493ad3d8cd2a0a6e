from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from extd.media.frames import open_source
from extd.media.video import WHOLE, Fault, Frame, Span, open_video

Film = Callable[..., Path]


def frames_of(path: Path, span: Span | None = None) -> list[Frame]:
    """The frames of a video without a fault."""
    found = list(open_source(path, span or Span()))
    frames = [item for item in found if isinstance(item, Frame)]
    assert len(frames) == len(found), found[-1]
    return frames


def count_of(path: Path, span: Span = WHOLE) -> int | None:
    with open_video(path, span) as video:
        return video.frame_count


def read_faulty(path: Path) -> tuple[list[Frame], Exception]:
    """The frames of a video that ends in a fault, and the fault's error."""
    *frames, fault = open_source(path)
    assert isinstance(fault, Fault)
    assert all(isinstance(frame, Frame) for frame in frames)
    assert str(path) in str(fault.error)
    return frames, fault.error  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "ä: b%d.mkv"])
def test_frames_come_in_order_with_their_times(film: Film, name: str) -> None:
    path = film(name)
    frames = frames_of(path)
    assert [frame.index for frame in frames] == list(range(10))
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(10)])
    assert {frame.name for frame in frames} == {str(path)}
    grays = [int(frame.image[40, 40, 1]) for frame in frames]
    assert grays == pytest.approx(list(range(0, 40, 4)), abs=2)
    assert frames[0].image.dtype == np.uint8
    assert count_of(path) == pytest.approx(10, abs=2)


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_are_turned_upright(film: Film, degrees: int, mirrored: bool) -> None:
    stored = frames_of(film("stored.mp4", 1))[0].image
    seen = frames_of(film("turned.mp4", 1, turned=(degrees, mirrored, False)))[0].image
    expected = np.rot90(stored, degrees // 90)
    # The order of the two is FFmpeg's: av_display_matrix_flip works on the rotated matrix.
    expected = expected[:, ::-1] if mirrored else expected
    assert seen.shape == expected.shape
    assert np.abs(seen.astype(int) - expected).max() <= 2


def test_a_span_is_cut_from_keyframes_before_it(film: Film) -> None:
    path = film("a.mp4", 50)
    frames = frames_of(path, Span(0.5, 1.5, 10))
    assert [frame.time for frame in frames] == pytest.approx([0.52, 0.92, 1.32])
    assert [frame.index for frame in frames] == [0, 10, 20]
    assert count_of(path, Span(0.5, 1.5, 10)) == 3
    assert int(frames[0].image[40, 40, 1]) == pytest.approx(52, abs=2)
    late, error = list(open_source(path, Span(9)))[:-1], list(open_source(path, Span(9)))[-1]
    assert late == []
    assert isinstance(error, Fault)
    assert "no frame from 9 s on" in str(error.error)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mts", "libx264"), ("a.mpg", "mpeg2video"), ("a.flv", "libx264"), ("a.avi", "libx264")],
)
def test_formats_without_times_or_index_give_all_frames(
    tmp_path: Path, name: str, codec: str
) -> None:
    with av.open(tmp_path / name, "w") as output:
        track: Any = output.add_stream(codec, rate=25, options={"g": "12", "bf": "2"})
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for index in range(60):
            image = np.full((48, 64, 3), 4 * index, np.uint8)
            output.mux(track.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(track.encode())
    frames = frames_of(tmp_path / name)
    grays = [int(frame.image[20, 20, 1]) for frame in frames]
    assert grays == pytest.approx(list(range(0, 240, 4)), abs=3)
    steps = np.diff([frame.time for frame in frames])
    assert steps == pytest.approx(np.full(59, 0.04), abs=1e-3)
    later = frames_of(tmp_path / name, Span(1, 1.2))
    assert [frame.time for frame in later] == [f.time for f in frames if 0.9999 <= f.time < 1.1999]
    assert [int(frame.image[20, 20, 1]) for frame in later] == [
        int(frame.image[20, 20, 1]) for frame in frames if 0.9999 <= frame.time < 1.1999
    ]


def test_frames_of_varying_rate_keep_their_times(film: Film) -> None:
    times = [0, 0.007, 0.19, 0.2, 0.41, 0.7]
    for name in ("a.mp4", "a.mkv"):
        assert [frame.time for frame in frames_of(film(name, 6, times=times))] == times


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_that_is_cut_off_gives_what_is_there_and_tells(film: Film, suffix: str) -> None:
    path = film(f"a{suffix}", 60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, error = read_faulty(path)
    assert 10 < len(frames) < 60
    assert f"ends after {len(frames) / 25:.1f}"[:-1] in str(error)


def test_damage_in_the_middle_does_not_end_it(film: Film) -> None:
    path = film("a.mp4", 60, codecs=("libx264", None))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(value ^ 0x5A for value in data[middle : middle + 200])
    path.write_bytes(data)
    frames, error = read_faulty(path)
    assert frames[-1].time > 2.2
    assert "damaged" in str(error)


def test_what_is_no_video_is_told(film: Film, tmp_path: Path) -> None:
    files = {"empty.mp4": b"", "text.mp4": b"hello", "image.mkv": bytes(1000)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for name in files:
        frames, error = read_faulty(tmp_path / name)
        assert frames == []
        assert isinstance(error, ValueError)
    frames, error = read_faulty(tmp_path / "missing.mp4")
    assert frames == []
    assert isinstance(error, FileNotFoundError)


def test_without_pyav_the_extra_is_named(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"extd\[video\]"):
        next(open_source(Path("a.mp4")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1,), "start is -1"),
        ((1e14,), r"start is 1e\+14; give seconds from 0 to below 1e\+09"),
        ((float("nan"),), "start is nan"),
        ((3, 2), "end is 2"),
        ((0, None, 0), "every is 0"),
    ],
)
def test_spans_are_checked(values: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Span(*values)
