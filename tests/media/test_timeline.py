from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from extd.media.frames import open_source
from extd.media.timeline import Timeline
from extd.media.video import Frame, open_video
from extd.media.videowriter import write_video

Film = Callable[..., Path]
VIDEO, SOUND = 0, 1


@dataclass
class Stand:
    """Stands in for a packet; times are milliseconds."""

    stream_index: int
    dts: int | None
    pts: int | None = None
    duration: int = 100
    time_base: Fraction = Fraction(1, 1000)


def laid_out(times: Sequence[tuple[int, int | None]], ahead: float = 10) -> list[tuple[int, Any]]:
    packets: Any = [Stand(track, dts, dts) for track, dts in times]
    return [
        (packet.stream_index, packet.dts)
        for packet in Timeline({VIDEO, SOUND}, ahead).lay_out(packets)
    ]


def both(*times: int) -> list[tuple[int, int | None]]:
    return [(track, time) for time in times for track in (VIDEO, SOUND)]


def test_what_begins_anew_follows_what_was_there() -> None:
    first = both(*range(0, 2000, 100))
    assert laid_out(first + first) == first + both(*range(2000, 4000, 100))
    # Most of the sound comes first, and the last image from before the jump late.
    mixed = [*first[:-2], (SOUND, 1900), (SOUND, 0), (VIDEO, 1900), *first[2:], (VIDEO, 2000)]
    moved = laid_out(mixed)
    assert moved[len(first) - 2 : len(first) + 1] == [(SOUND, 1900), (SOUND, 2000), (VIDEO, 1900)]
    assert moved[-1] == (VIDEO, 4000)
    assert [dts for track, dts in moved if track == SOUND] == list(range(0, 4000, 100))


def test_one_late_image_of_a_slow_camera_is_no_sign() -> None:
    first = [(SOUND, time) for time in range(0, 3000, 100)]
    slow: list[tuple[int, int | None]] = [(VIDEO, 0), *first, (VIDEO, 2000)]
    moved = laid_out([*slow, (SOUND, 0), (VIDEO, 2900), (SOUND, 100), (VIDEO, 0), (SOUND, 200)])
    assert moved[len(slow) :] == [
        *((SOUND, 3000), (VIDEO, 2900), (SOUND, 3100), (VIDEO, 3000), (SOUND, 3200))
    ]


def test_a_leap_is_closed_only_where_formats_leap_by_mistake() -> None:
    leaping = both(0, 100, 60_000, 60_100)
    assert laid_out(leaping) == both(0, 100, 200, 300)
    assert laid_out(leaping, math.inf) == leaping


def test_one_track_alone_keeps_its_place() -> None:
    sound = [(SOUND, time) for time in range(0, 4000, 100)]
    video: list[tuple[int, int | None]] = [(VIDEO, time) for time in range(0, 4000, 100)]
    video[20:] = [(VIDEO, time) for time in range(1000, 3000, 100)]
    packets = [packet for pair in zip(video, sound, strict=True) for packet in pair]
    assert laid_out(packets) == packets


def test_packets_without_time_pass() -> None:
    ends: list[tuple[int, int | None]] = [(VIDEO, None), (SOUND, None)]
    before = [(2, 50), *both(0, 1000), (VIDEO, None)]
    assert laid_out([*before, *both(0), *ends]) == [*before, *both(1100), *ends]


def heard(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]


@pytest.mark.parametrize("tone", ["aac", None])
def test_joined_recordings_keep_all_frames_and_their_sound(
    film: Film, tmp_path: Path, tone: str | None
) -> None:
    path = film("a.mts", 50, codecs=("libx264", tone))
    path.write_bytes(path.read_bytes() * 2)
    frames = [item for item in open_source(path) if isinstance(item, Frame)]
    assert len(frames) == 100
    steps = np.diff([frame.time for frame in frames])
    assert steps == pytest.approx(np.full(99, 0.04), abs=0.05)
    assert np.delete(steps, 49) == pytest.approx(np.full(98, 0.04), abs=1e-3)
    assert [frame.image[40, 40, 1] // 4 for frame in frames[:50]] == [
        frame.image[40, 40, 1] // 4 for frame in frames[50:]
    ]
    target = tmp_path / "b.mkv"
    with open_video(path) as video, write_video(target, video) as write:
        for frame in video.frames():
            assert isinstance(frame, Frame)
            write(frame.image, frame.time)
    written = [item for item in open_source(target) if isinstance(item, Frame)]
    assert [frame.time for frame in written] == pytest.approx(
        [frame.time for frame in frames], abs=0.002
    )
    if tone:
        times, before = heard(target), heard(path)
        assert len(times) == len(before)
        # As far from the image as it was.
        begin = len(times) // 2
        lag = frames[50].time - frames[0].time
        assert times[begin] - times[0] == pytest.approx(lag, abs=0.025)
        assert np.all(np.diff(times) > 0)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".wmv"])
def test_a_file_that_begins_late_is_whole(film: Film, tmp_path: Path, suffix: str) -> None:
    source, late = film("a.mkv", 60, codecs=("mpeg4", "mp3")), tmp_path / f"late{suffix}"
    with av.open(str(source)) as before, av.open(str(late), "w") as after:
        tracks = [after.add_stream_from_template(stream) for stream in before.streams]
        packets: Any = before.demux()
        for packet in packets:
            if packet.dts is not None:
                delay = round(50 / packet.time_base)
                packet.pts, packet.dts = packet.pts + delay, packet.dts + delay
                packet.stream = tracks[packet.stream_index]
                after.mux(packet)
    found = list(open_source(late))
    assert len(found) == 60
    assert isinstance(found[0], Frame)
    assert found[0].time == pytest.approx(0, abs=0.03)
    if suffix == ".mkv":
        late.write_bytes(late.read_bytes()[: late.stat().st_size // 2])
        assert "ends after" in str(list(open_source(late))[-1])
