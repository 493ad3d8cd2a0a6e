"""Video files read through PyAV, which the extra `video` brings."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extd.images import Image
from extd.media.frame import Fault, Frame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SHORT = 0.5
"""Seconds that may be missing from the end of a video before it counts as cut off."""
UNINDEXED = frozenset({"mpegts", "mpeg", "flv"})
"""Formats of FFmpeg's that seek by bytes or guesses."""
LATEST = 1e9
"""Seconds that no video has."""
ROUNDING = 1e-4
"""Seconds by which a frame may come before the start that is asked for."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which frames of a video are meant.

    Attributes:
        start: seconds from the video's beginning, where the frames begin.
        end: where they end, likewise; the video's end without it.
        every: only every so many-th of them.
    """

    start: float = 0.0
    end: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: a value is out of range; the message names it.
        """
        if not 0 <= self.start < LATEST:
            raise ValueError(f"start is {self.start:g}; give seconds from 0 to below {LATEST:g}")
        if self.end is not None and not self.end > self.start:
            raise ValueError(
                f"end is {self.end:g}; give more seconds than {self.start:g}, the start"
            )
        if self.every < 1:
            raise ValueError(f"every is {self.every}; give 1 or more frames")


WHOLE = Span()


def read_video(path: Path, span: Span = WHOLE) -> Iterator[Frame | Fault]:
    """The frames of a video, upright, one after the other.

    Rotation and mirroring that the file asks for are carried out. A video that is broken gives
    what can be decoded of it, and last a `Fault` with a ValueError, or OSError where it cannot be
    opened. Memory does not grow with the length.

    Args:
        path: the file; its times begin at 0, whatever it says.
        span: which frames; `Frame.index` counts from its start, with those that `every` leaves
            out.

    Raises:
        ImportError: PyAV is missing.
    """
    av = pyav()
    state = Reading()
    faults = []
    index = 0
    try:
        with open_video(path) as (container, stream):
            for time, picture in decode(container, stream, span, state):
                if index % span.every == 0:
                    yield Frame(upright(picture), str(path), index, time)
                index += 1
    except (av.FFmpegError, ValueError, OSError) as error:
        if index == 0:
            yield Fault(str(path), error)
            return
        faults.append(f"it breaks off after {state.reached:.1f} s")
    if state.damaged:
        verb = "is" if state.damaged == 1 else "are"
        faults.append(f"{state.damaged:,} of its frames {verb} damaged")
    if state.missing:
        faults.append(state.missing)
    if index == 0 and not faults:
        faults.append(f"it has no frame from {span.start:g} s on")
    if faults:
        yield Fault(str(path), ValueError(f"{path}: {'; '.join(faults)}"))


@dataclass(slots=True)
class Reading:
    """How reading a video goes.

    Attributes:
        reached: seconds up to which there was anything.
        damaged: how many packets and frames could not be decoded as they should.
        missing: what is not there of the video, in words, or nothing.
    """

    reached: float = 0.0
    damaged: int = 0
    missing: str = ""


def decode(
    container: InputContainer, stream: VideoStream, span: Span, state: Reading
) -> Iterator[tuple[float, VideoFrame]]:
    """The frames from the start to the end of the span with their times in seconds."""
    av = pyav()
    stream.thread_type = "AUTO"
    origin, rate = beginning(container), frame_rate(stream)
    seek(container, span.start)
    # AVI has no times but the places of frames in the order of decoding.
    places: list[int] | None = [] if container.format.name == "avi" else None
    count = 0
    # All tracks, because the longest says whether the end is there.
    for packet in container.demux():
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base) - origin
            state.reached = max(state.reached, end)
        # The packets that flush the decoders have no index but their track's.
        if packet.stream.index != stream.index:
            continue
        if places is not None and packet.size and packet.pts is not None:
            heapq.heappush(places, packet.pts)
        try:
            pictures = stream.decode(packet)
        except av.FFmpegError:
            state.damaged += 1
            if places and packet.pts in places:
                places.remove(packet.pts)
                heapq.heapify(places)
            continue
        for picture in pictures:
            stamp = heapq.heappop(places) if places else picture.pts
            unit = stream.time_base
            if stamp is None or unit is None:
                time = float(count / rate)
            else:
                time = float(stamp * unit) - origin
            count += 1
            if time < span.start - ROUNDING:
                continue
            if span.end is not None and time >= span.end - ROUNDING:
                return
            state.damaged += picture.is_corrupt
            yield time, picture
    length = (container.duration or 0) / 1e6
    if state.reached < length - SHORT:
        state.missing = f"it ends after {state.reached:.1f} of {length:.1f} s"


def count_frames(path: Path, span: Span = WHOLE) -> int | None:
    """About how many frames `read_video` gives, as the file says; None where it does not.

    Raises:
        ImportError: PyAV is missing.
        ValueError: the video is broken.
        OSError: it cannot be opened.
    """
    with open_video(path) as (container, stream):
        if not container.duration:
            return None
        end = min(container.duration / 1e6, math.inf if span.end is None else span.end)
        return math.ceil(max(end - span.start, 0) * frame_rate(stream) / span.every)


def pyav() -> Any:
    """PyAV, an optional package.

    Raises:
        ImportError: it is missing; the message tells what to install.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise ImportError(
            f'video needs the package {error.name}; run: pip install "extd[video]"'
        ) from error
    return av


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """An open video file, and the track of it that is looked at.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened.
        ValueError: it is broken, or no video.
    """
    av = pyav()
    try:
        # With the protocol, or a colon in the name would make one of what is before it.
        container = av.open(f"file:{path}", metadata_errors="ignore")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}") from error
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise ValueError(f"{path} is broken or no video") from error
    with container:
        cover = av.stream.Disposition.attached_pic
        for stream in container.streams.video:
            if stream.codec_context is not None and not stream.disposition & cover:
                yield container, stream
                return
        raise ValueError(f"{path} has no pictures that can be decoded")


def beginning(container: InputContainer) -> float:
    """The time in the file, in seconds, at which players begin."""
    return max(container.start_time or 0, 0) / 1e6


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames a second, on average."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def seek(container: InputContainer, start: float) -> None:
    """Go to where decoding must begin to have the frames from `start` on, seconds from the first.

    What cannot be sought is read from its beginning, and so is what has no index, where the next
    key frame may come later.
    """
    if start > 0 and container.format.name not in UNINDEXED:
        with suppress(pyav().FFmpegError):
            container.seek(int((beginning(container) + start) * 1e6))


def orientation(picture: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether upright pixels are the frame's transposed, then mirrored in x, then in y.

    It is in the display matrix (ISO/IEC 14496-12, 8.5.2), which takes (x, y) of the frame to
    (a x + c y, b x + d y) of the screen.
    """
    side_data: Any = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return False, False, False
    a, b, _, c, d, *_ = np.frombuffer(side_data, np.int32).tolist()
    lying = abs(b) > abs(a)
    return lying, (c if lying else a) < 0, (b if lying else d) < 0


def upright(picture: VideoFrame) -> Image:
    """The pixels of a frame as it is to be seen."""
    lying, mirrored, flipped = orientation(picture)
    image = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    image = image.transpose(1, 0, 2) if lying else image
    return np.ascontiguousarray(image[:: -1 if flipped else 1, :: -1 if mirrored else 1])


def first_picture(path: Path) -> VideoFrame:
    """The first frame that can be decoded.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened.
        ValueError: there is none.
    """
    with open_video(path) as (container, stream), suppress(pyav().FFmpegError):
        for _, picture in decode(container, stream, WHOLE, Reading()):
            return picture
    raise ValueError(f"{path} has no frame that can be decoded")
