from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from extd.media.frames import open_source
from extd.media.video import WHOLE, Fault, Frame, Span, open_video
from extd.media.videowriter import write_video

Film = Callable[..., Path]


def frames_of(path: Path, span: Span | None = None) -> list[Frame]:
    """The frames of a video."""
    return [item for item in open_source(path, span or Span()) if isinstance(item, Frame)]


def copy(
    source: Path, target: Path, span: Span | None = None, *, keep_metadata: bool = False
) -> list[Frame]:
    """Write the frames of a video as they are; those of what is written."""
    with (
        open_video(source, span or WHOLE) as video,
        write_video(target, video, keep_metadata=keep_metadata) as write,
    ):
        for frame in video.frames():
            assert isinstance(frame, Frame)
            write(frame.image, frame.time)
    return frames_of(target)


def audio_of(path: Path) -> list[tuple[float, bytes]]:
    """Time and content of the packets of the audio."""
    with av.open(str(path)) as container:
        packets = container.demux(audio=0)
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.pts is not None]


def difference(a: Frame, b: Frame) -> float:
    return float(np.abs(a.image.astype(int) - b.image).mean())


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_images_times_rate_and_audio_stay(film: Film, tmp_path: Path, suffix: str) -> None:
    web = suffix == ".webm"
    codecs = ("libvpx-vp9", "libopus") if web else ("libx264", "aac")
    source = film(f"a{suffix}", codecs=codecs)
    target = tmp_path / "new" / f"b{suffix}"
    before, after = frames_of(source), copy(source, target)
    assert [frame.time for frame in after] == pytest.approx([frame.time for frame in before])
    assert max(map(difference, before, after)) < 3
    assert [data for _, data in audio_of(target)] == [data for _, data in audio_of(source)]
    with av.open(str(target)) as video:
        assert video.streams.video[0].average_rate == 25
        assert (web or suffix == ".mkv") == ("matroska" in video.format.name)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_upright_frames_of_varying_rate_stay_so(film: Film, tmp_path: Path) -> None:
    times = [0, 0.007, 0.19, 0.2, 0.41, 0.7]
    source = film("a.mp4", 6, times=times, turned=(90, False, False))
    after = copy(source, tmp_path / "b.mp4")
    assert [frame.time for frame in after] == times
    assert after[0].image.shape == (64, 48, 3)
    assert difference(frames_of(source)[0], after[0]) < 3


def test_a_span_takes_its_audio_with_it(film: Film, tmp_path: Path) -> None:
    source, target = film("a.mp4", 50), tmp_path / "b.mp4"
    span = Span(0.5, 1.5, 5)
    after = copy(source, target, span)
    with av.open(str(target)) as video:
        begin = max(video.start_time, 0) / 1e6
    expected = [frame.time - 0.5 for frame in frames_of(source, span)]
    assert [frame.time + begin for frame in after] == pytest.approx(expected, abs=1e-4)
    heard = {data: time for time, data in audio_of(source) if 0.5 <= time < 1.5}
    kept = audio_of(target)
    assert [data for _, data in kept] == list(heard)
    assert [time + 0.5 for time, _ in kept] == pytest.approx(list(heard.values()), abs=1e-4)


@pytest.mark.parametrize("colors", [(1, 1), (6, 1), (9, 2), (2, 0)])
def test_colors_stay(film: Film, tmp_path: Path, colors: tuple[int, int]) -> None:
    source = film("a.mp4", 1, colors=colors)
    (after,) = copy(source, tmp_path / "b.mp4")
    assert np.abs(frames_of(source)[0].image[4, 4].astype(int) - after.image[4, 4]).max() <= 8
    with av.open(str(tmp_path / "b.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.colorspace, stream.color_range) == colors


def test_odd_sizes_become_even(film: Film, tmp_path: Path) -> None:
    source = film("a.avi", 3, size=(63, 47), codecs=("ffv1", "mp2"))
    target = tmp_path / "b" / "a.avi.mkv"
    after = copy(source, target)
    assert after[0].image.shape == (48, 64, 3)
    assert np.abs(after[2].image[:47, :63].astype(int) - frames_of(source)[2].image).mean() < 3
    assert len(audio_of(target)) == len(audio_of(source)) > 0


def test_frames_of_another_size_are_made_to_fit(film: Film, tmp_path: Path) -> None:
    source, target = film("a.mp4", 1), tmp_path / "b.mp4"
    with open_video(source) as video, write_video(target, video) as write:
        write(np.zeros((48, 64, 3), np.uint8), 0)
        write(np.full((20, 30, 3), 200, np.uint8), 0.04)
    after = frames_of(target)
    assert [frame.image.shape for frame in after] == [(48, 64, 3)] * 2
    assert after[1].image.mean() == pytest.approx(200, abs=3)


def test_unknown_containers_are_refused(film: Film, tmp_path: Path) -> None:
    source = film("a.mp4")
    with pytest.raises(ValueError, match=r"b\.avi: videos are written as \.mp4, "):
        copy(source, tmp_path / "b.avi")


def test_nothing_is_told_of_place_and_camera_unless_it_is_kept(film: Film, tmp_path: Path) -> None:
    told = {"location": "+48.1234+011.5678/", "comment": "taken by me"}
    for suffix in (".mp4", ".mov", ".mkv"):
        source, bare, kept = film(f"a{suffix}", metadata=told), tmp_path / "b", tmp_path / "c"
        bare, kept = bare.with_suffix(suffix), kept.with_suffix(suffix)
        copy(source, bare)
        copy(source, kept, keep_metadata=True)
        secrets = b"48.12", b"taken by me"
        assert all(secret in kept.read_bytes() for secret in secrets)
        assert not any(secret in bare.read_bytes() for secret in secrets)


def write_until(error: BaseException, source: Path, target: Path, count: int) -> None:
    """Write so many frames, then have that error."""
    with open_video(source) as video, write_video(target, video) as write:
        for frame in islice(video.frames(), count):
            assert isinstance(frame, Frame)
            write(frame.image, frame.time)
        raise error


def test_after_ctrl_c_the_video_is_finished(film: Film, tmp_path: Path) -> None:
    source, target = film("a.mp4", 50), tmp_path / "b.mp4"
    with pytest.raises(KeyboardInterrupt):
        write_until(KeyboardInterrupt(), source, target, 20)
    assert len(frames_of(target)) == 20
    assert not any(isinstance(item, Fault) for item in open_source(target))
    assert 0.7 < audio_of(target)[-1][0] < 0.8


def test_after_an_error_what_was_there_stays(film: Film, tmp_path: Path) -> None:
    source, target = film("a.mp4"), tmp_path / "out" / "b.mp4"
    target.parent.mkdir()
    target.write_text("before")
    with pytest.raises(ZeroDivisionError):
        write_until(ZeroDivisionError(), source, target, 1)
    with pytest.raises(KeyboardInterrupt):
        write_until(KeyboardInterrupt(), source, target, 0)
    with (
        pytest.raises(ValueError, match="no frame"),
        open_video(source) as video,
        write_video(target, video),
    ):
        pass
    text = tmp_path / "text.mp4"
    text.write_text("hello")
    with pytest.raises(ValueError, match=r"text\.mp4"), open_video(text):
        pass
    assert [path.read_text() for path in target.parent.iterdir()] == ["before"]


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Within it, a file ends at that size in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_behind(film: Film, tmp_path: Path) -> None:
    source, target = film("a.mp4", 30), tmp_path / "out" / "b.mp4"
    with full_disk(5_000), pytest.raises((OSError, ValueError), match=r"b\.mp4"):
        write_noise(source, target)
    assert list(target.parent.iterdir()) == []


def write_noise(source: Path, target: Path) -> None:
    """Write frames that cannot be compressed."""
    with open_video(source) as video, write_video(target, video) as write:
        noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8)
        for index, image in enumerate(noise):
            write(image, index / 25)
