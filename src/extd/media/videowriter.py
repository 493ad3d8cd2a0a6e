"""Video files written like the ones they are made from: frame rate, colours, audio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from extd.files import atomic_write
from extd.images import Image
from extd.media.video import (
    WHOLE,
    Span,
    beginning,
    first_picture,
    frame_rate,
    open_video,
    orientation,
    pyav,
    seek,
    upright,
)

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
}
"""Containers in which a written video keeps its suffix, by FFmpeg's names; others become MKV."""
# Frames that refer to later ones are given up: with them, times that vary shorten an MP4.
H264 = "libx264", {"crf": "20", "preset": "veryfast", "bf": "0"}
VP9 = "libvpx-vp9", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6"}
"""Encoder and its options: of WebM, which takes no H.264, VP9."""
MATRICES = frozenset({1, 5, 6, 7, 9})
"""Ways from RGB to YUV that are kept, numbered as in ISO/IEC 23091-2: BT.709, 601 and 2020."""
UNSPECIFIED = 2
"""That the file does not say which."""

Write = Callable[[Image, float], None]
"""Appends a frame: uint8 [H, W, 3], RGB, and its time in seconds as it was read."""


def video_name(name: Path) -> Path:
    """The name of the video made of a source: with `.mkv` added where it becomes that."""
    return name if name.suffix.lower() in CONTAINERS else name.with_name(name.name + ".mkv")


@contextmanager
def write_video(
    path: str | Path, source: str | Path, span: Span = WHOLE, *, keep_metadata: bool = False
) -> Iterator[Write]:
    """Write a video that has the frame rate, the times, the colours and the audio of another.

    The video appears whole when the block ends, replacing what was there; after Ctrl-C with the
    frames that it has, after another error not at all. Pictures are encoded anew, as H.264 (in
    WebM VP9) of even size; audio is copied. Other tracks, as subtitles, cover pictures and what
    cameras record beside the picture, are left out.

    Args:
        path: of one of the `CONTAINERS`, as `video_name` names it. Folders are made.
        source: the video that the frames are made from.
        span: which of its frames come; the audio is cut to it.
        keep_metadata: copy what the file tells, as place, time and camera.

    Yields:
        A function that appends a frame; frames come in the order of their times.

    Raises:
        ImportError: PyAV is missing.
        ValueError: `source` is broken, no frame was given, `path` is of another container, or that
            cannot hold the audio.
        OSError: as on a full disk.
    """
    av = pyav()
    path, source = Path(path), Path(source)
    stopped: KeyboardInterrupt | None = None
    kind = CONTAINERS.get(path.suffix.lower(), "")
    if not kind:
        raise ValueError(f"{path}: videos are written as {', '.join(CONTAINERS)}")
    first = first_picture(source)
    # Of these two, or only a few of the tags are written.
    options = {"movflags": "use_metadata_tags"} if keep_metadata and kind in {"mp4", "mov"} else {}
    with atomic_write(path) as partial, open_video(source) as (container, stream):
        try:
            with av.open(f"file:{partial}", "w", format=kind, options=options) as output:
                if keep_metadata:
                    output.metadata.update(container.metadata)
                pictures = _add_pictures(output, stream, first, span)
                time_base = pictures.codec_context.time_base
                audio = _Audio(container, output, span)
                last = -1

                def write(image: Image, time: float) -> None:
                    nonlocal last
                    picture = _picture(image, pictures)
                    # Encoders refuse times that do not grow.
                    last = max(round((time - span.start) / time_base), last + 1)
                    picture.pts, picture.time_base = last, time_base
                    audio.copy(time)
                    output.mux(pictures.encode(picture))

                try:
                    yield write
                except KeyboardInterrupt as error:
                    if last < 0:
                        raise
                    stopped = error
                else:
                    if last < 0:
                        raise ValueError(f"{path}: there is no frame to write")
                    audio.copy(math.inf)
                output.mux(pictures.encode())
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise ValueError(f"{path} cannot be written: {error.strerror}") from error
    if stopped is not None:
        raise stopped


def _add_pictures(
    output: OutputContainer, stream: VideoStream, first: VideoFrame, span: Span
) -> VideoStream:
    """The track of a written video whose frames are upright ones of `stream`."""
    codec, options = VP9 if output.format.name == "webm" else H264
    rate = frame_rate(stream) / span.every
    pictures = cast("VideoStream", output.add_stream(codec, rate=rate, options=options))
    height, width = upright(first).shape[:2]
    # Colours have half the resolution.
    pictures.width, pictures.height = width + width % 2, height + height % 2
    pictures.pix_fmt = "yuv420p"
    context = pictures.codec_context
    context.time_base = stream.time_base or Fraction(1, 1000)
    context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
    context.color_range = first.color_range
    context.colorspace = first.colorspace if first.colorspace in MATRICES else UNSPECIFIED
    aspect = stream.sample_aspect_ratio or Fraction(1)
    lying, _, _ = orientation(first)
    context.sample_aspect_ratio = 1 / aspect if lying else aspect
    return pictures


def _picture(image: Image, pictures: VideoStream) -> VideoFrame:
    """An image as the track takes it; a pixel at the right and below is repeated as needed."""
    width, height = pictures.width, pictures.height
    more = height - image.shape[0], width - image.shape[1]
    if more != (0, 0):
        if set(more) <= {0, 1}:
            image = np.pad(image, ((0, more[0]), (0, more[1]), (0, 0)), "edge")
        else:
            # The video changed its size on the way.
            image = np.asarray(cv2.resize(image, (width, height)), np.uint8)
    context = pictures.codec_context
    picture: VideoFrame = pyav().VideoFrame.from_ndarray(image, format="rgb24")
    return picture.reformat(
        format="yuv420p",
        dst_colorspace=None if context.colorspace == UNSPECIFIED else context.colorspace,
        dst_color_range=context.color_range or None,
    )


class _Audio:
    """The audio of a video, copied as it is."""

    def __init__(self, source: InputContainer, output: OutputContainer, span: Span) -> None:
        """Add its tracks to the output.

        Raises:
            ValueError: the container cannot hold one.
        """
        self._output = output
        self._copies = {}
        for stream in source.streams.audio:
            try:
                copy = output.add_stream_from_template(stream)
            except ValueError as error:
                name = source.name.removeprefix("file:")
                raise ValueError(f"{name}: its audio cannot be copied: {error}") from error
            if stream.language:
                copy.metadata["language"] = stream.language
            self._copies[stream.index] = copy
        self._packets = self._read(source, span)
        self._ahead = next(self._packets, None)

    def copy(self, until: float) -> None:
        """Write what is heard up to that time in seconds."""
        while self._ahead is not None and self._ahead[0] <= until:
            self._output.mux(self._ahead[1])
            self._ahead = next(self._packets, None)

    def _read(self, source: InputContainer, span: Span) -> Iterator[tuple[float, Packet[Any]]]:
        """The packets in the span, each with its time in seconds."""
        if not self._copies:
            return
        av = pyav()
        for stream in source.streams:
            if stream.index not in self._copies:
                stream.discard = av.stream.Discard.all
        origin = beginning(source)
        seek(source, span.start)
        # Where the file is broken, its frames tell.
        with suppress(av.FFmpegError):
            for packet in source.demux(*source.streams.audio):
                if packet.pts is None or packet.dts is None:
                    continue
                time = float(packet.pts * packet.time_base) - origin
                # What comes before the beginning, decoders need.
                if span.start and time < span.start:
                    continue
                if span.end is not None and time >= span.end:
                    return
                shift = round((origin + span.start) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = self._copies[packet.stream_index]
                yield time, packet
