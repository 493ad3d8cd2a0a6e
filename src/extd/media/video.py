"""Frames, and the video files that they are read from through PyAV (the extra `video`)."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from extd.faces import Faces
from extd.media.anonymize import AnonymizeOptions, anonymize
from extd.media.timeline import Timeline
from extd.media.transparency import Layers, split
from extd.pixels import Image

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MISSING_END = 0.5
"""Seconds that may be missing at the end before a video counts as cut off."""
UNINDEXED = frozenset({"mpegts", "mpeg", "flv"})
"""FFmpeg's names of formats in which seeking is a guess."""
FROM_ZERO = frozenset({"matroska,webm", "nut", "asf"})
"""FFmpeg's names of formats whose length counts from 0, wherever they begin."""
MAX_GAP = 10.0
"""Seconds by which the clock of formats for broadcasting jumps only by mistake."""
MAX_TIME = 1e9
"""Seconds; no video is longer."""
ROUNDING = 1e-4
"""Seconds by which a frame may precede the start that is asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a source.

    Attributes:
        image: uint8 [H, W, 3], RGB, upright; transparent pixels are blended with mid gray.
        name: the file, or the address of the camera.
        index: position among the frames of its source, counted from 0 where reading began.
        time: seconds since the beginning of the source.
        layers: the colors and opacity of an image with transparent parts, if they are needed.
    """

    image: Image = field(repr=False)
    name: str
    index: int = 0
    time: float = 0.0
    layers: Layers | None = field(default=None, repr=False)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """What is written: RGB [H, W, 3], or RGBA [H, W, 4] where parts are transparent."""
        return self.image if self.layers is None else self.layers.rgba

    def anonymize(self, faces: Faces, options: AnonymizeOptions) -> Frame:
        """Cover faces; this overwrites the image."""
        if self.layers is None:
            anonymize(self.image, faces, options, out=self.image)
            return self
        layers = self.layers.anonymize(faces, options)
        return replace(self, image=layers.flatten(), layers=layers)


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """Comes in place of frames that cannot be read; other sources go on.

    Attributes:
        name: the file, or the address of the camera.
        error: why; its message names the source.
    """

    name: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Span:
    """Which frames of a video to read.

    Attributes:
        start: time of the first frame, in seconds from the beginning of the video.
        end: the frames end before this time; None means the end of the video.
        every: take every n-th frame.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    start: float = 0.0
    end: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.start < MAX_TIME:
            raise ValueError(f"start is {self.start:g}; give seconds from 0 to below {MAX_TIME:g}")
        if not self.stop > self.start:
            raise ValueError(f"end is {self.stop:g}; give more than start, {self.start:g} seconds")
        if self.every < 1:
            raise ValueError(f"every is {self.every}; give 1 or more frames")

    @property
    def stop(self) -> float:
        """`end`, or infinity."""
        return math.inf if self.end is None else self.end

    def __contains__(self, time: float) -> bool:
        return self.start - ROUNDING <= time < self.stop - ROUNDING


WHOLE = Span()


class Video:
    """An open video file: its frames, and the audio packets that pass by as they are read.

    Attributes:
        path: the file.
        span: which frames are read.
        container: PyAV's container.
        stream: the video track.
        first: the first decoded frame, which knows colors and orientation; None before it.
        notes: which of its tracks are left out or changed.
    """

    def __init__(
        self, path: Path, span: Span, container: InputContainer, stream: VideoStream
    ) -> None:
        """Take an open container; use `open_video` instead."""
        self.path, self.span = path, span
        self.container, self.stream = container, stream
        self.first: VideoFrame | None = None
        self.notes = [_left_out(one) for one in _videos(container) if one is not stream]
        # Tracks of audio to keep, and their packets with their times.
        self._tracks: frozenset[int] = frozenset()
        self._audio: deque[tuple[float, Packet[Any]]] = deque()
        # Players start here, not at 0.
        self._origin = max(container.start_time or 0, 0) / 1e6
        # Seconds; 0 if the file does not say.
        self._length = (container.duration or 0) / 1e6
        if container.format.name in FROM_ZERO and self._length > self._origin:
            self._length -= self._origin
        # Seconds up to which the packets of each track were read.
        self._reached: dict[int, float] = {}
        self._read_all = False
        self._damaged = 0
        stream.thread_type = "AUTO"
        self._decoder = _decoder_with_alpha(stream)
        # Without an index, seeking can skip frames: read from the beginning instead.
        if span.start > 0 and container.format.name not in UNINDEXED:
            with suppress(pyav().FFmpegError):
                container.seek(int((self._origin + span.start) * 1e6))
        self._packets = self._read_packets()

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second, on average."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def frame_count(self) -> int | None:
        """About how many frames `frames` yields, according to the file; None if it does not say."""
        if not self._length:
            return None
        seconds = min(self._length, self.span.stop) - self.span.start
        return math.ceil(max(seconds, 0) * self.frame_rate / self.span.every)

    def frames(self) -> Iterator[Frame | Fault]:
        """Yield the frames, upright, in order of time; call it once.

        A broken video yields what can be decoded and, last, a `Fault` with a ValueError.
        `Frame.index` counts from the start of the span and includes frames that `every` skips.
        """
        index, reason = 0, ""
        try:
            for time, frame in self._decode():
                if self.first is None:
                    self.first = frame
                if index % self.span.every == 0:
                    pixels = upright(frame)
                    layers = split(pixels) if pixels.shape[2] == 4 else None
                    image = pixels if layers is None else layers.flatten()
                    yield Frame(image, str(self.path), index, time, layers)
                index += 1
        except (pyav().FFmpegError, ValueError, OSError) as error:
            if index == 0:
                yield Fault(str(self.path), readable(error, self.path))
                return
            reason = f"it breaks off after {self._end():.1f} s"
        if self._read_all and self._end() < self._length - MISSING_END:
            reason = f"it ends after {self._end():.1f} of {self._length:.1f} s"
        if self._damaged:
            verb = "is" if self._damaged == 1 else "are"
            damage = f"{self._damaged:,} of its frames {verb} damaged"
            reason = f"{damage}; {reason}" if reason else damage
        if index == 0 and not reason:
            reason = f"it has no frame from {self.span.start:g} s on"
        if reason:
            yield Fault(str(self.path), ValueError(f"{self.path}: {reason}"))

    def keep_audio(self, tracks: Iterable[int]) -> None:
        """Keep the packets of audio tracks that are read from now on, for `audio`."""
        self._tracks = frozenset(tracks)

    def audio(self, until: float) -> Iterator[Packet[Any]]:
        """Yield the packets of audio up to a time in seconds, each once.

        After the last frame, an infinite time yields the rest of the span.
        """
        if until == math.inf:
            # If the file is broken, `frames` has reported it.
            with suppress(pyav().FFmpegError):
                while any(self._reached.get(track, 0) < self.span.stop for track in self._tracks):
                    if next(self._packets, None) is None:
                        break
        while self._audio and self._audio[0][0] <= until:
            yield self._audio.popleft()[1]

    def _decode(self) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the frames of the span with their times in seconds."""
        # AVI has no times; its packets carry the positions of frames in decoding order.
        positions: list[int] | None = [] if self.container.format.name == "avi" else None
        count = 0
        for packet in self._packets:
            # The packets that flush the decoders carry only the index of their track.
            if packet.stream.index != self.stream.index:
                continue
            if positions is not None and packet.size and packet.pts is not None:
                insort(positions, packet.pts)
            try:
                if self._decoder is None:
                    decoded = self.stream.decode(packet)
                else:
                    decoded = self._decoder.decode(packet if packet.size else None)
            except pyav().FFmpegError:
                self._damaged += 1
                if positions and packet.pts in positions:
                    positions.remove(packet.pts)
                continue
            for frame in decoded:
                stamp = positions.pop(0) if positions else frame.pts
                unit = self.stream.time_base
                if stamp is None or unit is None:
                    time = float(count / self.frame_rate)
                else:
                    time = float(stamp * unit) - self._origin
                count += 1
                if time < self.span.start - ROUNDING:
                    continue
                if time not in self.span:
                    return
                self._damaged += frame.is_corrupt
                yield time, frame
        self._read_all = True

    def _read_packets(self) -> Iterator[Packet[Any]]:
        """Yield the packets of all tracks, and keep those of the span's audio."""
        # All tracks, because the longest one tells whether the end of the file is there.
        tracks = {self.stream.index, *(stream.index for stream in self.container.streams.audio)}
        jumps = self.container.format.flags & pyav().format.Flags.ts_discont.value
        timeline = Timeline(tracks, MAX_GAP if jumps else math.inf)
        for packet in timeline.lay_out(self.container.demux()):
            if packet.pts is not None:
                time = float(packet.pts * packet.time_base) - self._origin
                end = time + float((packet.duration or 0) * packet.time_base)
                track = packet.stream_index
                self._reached[track] = max(self._reached.get(track, 0), end)
                # Decoders need what precedes the beginning of the file, if all of it is kept.
                after_start = time >= self.span.start or not self.span.start
                kept = track in self._tracks and after_start and time < self.span.stop
                if kept and packet.dts is not None:
                    shift = round((self._origin + self.span.start) / packet.time_base)
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    self._audio.append((time, packet))
            yield packet

    def _end(self) -> float:
        """Seconds up to which the file was read."""
        return max(self._reached.values(), default=0.0)


@contextmanager
def open_video(path: str | Path, span: Span = WHOLE) -> Iterator[Video]:
    """Open a video file.

    Raises:
        ImportError: PyAV is missing.
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened.
        ValueError: it is broken, or not a video.
    """
    av = pyav()
    path = Path(path)
    try:
        # With the protocol, since a colon in the name would be taken for one.
        container = av.open(f"file:{path}", metadata_errors="ignore")
    except av.FFmpegError as error:
        raise readable(error, path) from error
    with container:
        for stream in _videos(container):
            if stream.codec_context is not None:
                yield Video(path, span, container, stream)
                return
        raise ValueError(f"{path} has no video track that can be decoded")


def _videos(container: InputContainer) -> list[VideoStream]:
    """The video tracks, without cover images."""
    cover = pyav().stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _left_out(stream: VideoStream) -> str:
    """What to tell of a further video track."""
    # PyAV has none for unknown codecs.
    codec: Any = stream.codec_context
    what = "unknown codec" if codec is None else f"{codec.name}, {codec.width} x {codec.height} px"
    return f"video track {stream.index + 1} ({what}) is left out"


def pyav() -> Any:
    """PyAV, an optional package; without it an ImportError says what to install."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise ImportError(
            f'video needs the package {error.name}; run: pip install "extd[video]"'
        ) from error
    return av


def _decoder_with_alpha(stream: VideoStream) -> Any:
    """A decoder for the transparency of WebM, which FFmpeg's own ignore; None without it."""
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.codec.canonical_name)
    if tags.get("alpha_mode") != "1" or name is None:
        return None
    return pyav().CodecContext.create(name, "r")


def orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether to transpose a frame, then mirror it in x, then in y, to see it upright.

    The display matrix (ISO/IEC 14496-12, 8.5.2) maps (x, y) of the frame to
    (a x + c y, b x + d y) of the screen.
    """
    side_data: Any = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return False, False, False
    a, b, _, c, d, *_ = np.frombuffer(side_data, np.int32).tolist()
    transposed = abs(b) > abs(a)
    return transposed, (c if transposed else a) < 0, (b if transposed else d) < 0


def upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """The pixels of a frame, turned upright: RGB [H, W, 3], or RGBA [H, W, 4] if it has alpha."""
    transposed, mirrored, flipped = orientation(frame)
    alpha = any(component.is_alpha for component in frame.format.components)
    pixels = np.asarray(frame.to_ndarray(format="rgba" if alpha else "rgb24"), np.uint8)
    pixels = pixels.transpose(1, 0, 2) if transposed else pixels
    return np.ascontiguousarray(pixels[:: -1 if flipped else 1, :: -1 if mirrored else 1])


def readable(error: Exception, path: Path, problem: str = "is broken or not a video") -> Exception:
    """An error of PyAV as one that names the file; other errors as they are."""
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"there is no file {path}")
    if not isinstance(error, pyav().FFmpegError):
        return error
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, str(path))
    return ValueError(f"{path} {problem}")
