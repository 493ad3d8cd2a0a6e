"""Video files written like their source: with its frame rate, times, colors and audio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from extd.files import atomic_write
from extd.images import Image
from extd.media.video import Video, orientation, pyav, readable

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
}
"""FFmpeg's names of the containers that are written, by suffix."""
# No B-frames: with them, varying frame times shorten an MP4.
H264 = "libx264", {"crf": "20", "preset": "veryfast", "bf": "0"}
# WebM does not hold H.264.
VP9 = "libvpx-vp9", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6"}
QUIET = {"libx265": {"x265-params": "log-level=error"}}
"""Encoders that would print their settings."""
MATRICES = frozenset({1, 5, 6, 7, 9})
"""RGB to YUV conversions that are kept, as in ISO/IEC 23091-2: BT.709, 601 and 2020."""
UNSPECIFIED = 2

Codec = tuple[str, dict[str, str]]
"""FFmpeg's name of an encoder, and its options."""
Write = Callable[[Image, float], None]
"""Append a frame: uint8 [H, W, 3], RGB, and its time in seconds in the source."""


def check_encoder(name: str) -> None:
    """Refuse an encoder that FFmpeg does not have here, or that is not for videos.

    Raises:
        ValueError: the message names it.
    """
    av = pyav()
    try:
        codec = av.Codec(name, "w")
    except ValueError as error:
        raise ValueError(f"{name} is no encoder of this FFmpeg; give one like libx265") from error
    if "yuv420p" not in {form.name for form in codec.video_formats or ()}:
        raise ValueError(f"{name} does not encode videos as yuv420p; give one like libx265")


@contextmanager
def write_video(
    path: str | Path,
    source: Video,
    *,
    keep_metadata: bool = False,
    encoder: str | None = None,
    crf: int | None = None,
) -> Iterator[Write]:
    """Write a video with the frame rate, times, colors and audio of an open one.

    The file appears when the block ends: complete, or after Ctrl-C with the frames so far; after
    another error not at all. Frames are encoded as H.264 (VP9 in WebM) with even width and height,
    audio is copied. Other tracks, such as subtitles, covers and camera data, are dropped.

    Args:
        path: its suffix is one of `CONTAINERS`. Folders are created.
        source: the video that the frames come from; read them inside the block.
        keep_metadata: copy the file's tags, such as place, time and camera.
        encoder: FFmpeg's name of another encoder, such as `libx265`.
        crf: its constant rate factor, if it is to be another.

    Yields:
        A function that appends a frame; call it in order of time.

    Raises:
        ValueError: no frame was written, or the container is unknown or cannot hold the audio.
        OSError: the file cannot be written, as on a full disk.
    """
    av = pyav()
    path = Path(path)
    interrupt: KeyboardInterrupt | None = None
    kind = CONTAINERS.get(path.suffix.lower(), "")
    if not kind:
        raise ValueError(f"{path}: videos are written as {', '.join(CONTAINERS)}")
    # Without it, these two keep only a few of the tags.
    options = {"movflags": "use_metadata_tags"} if keep_metadata and kind in {"mp4", "mov"} else {}
    codec = _codec(kind, encoder, crf)
    source.keep_audio()
    with atomic_write(path) as partial:
        try:
            with av.open(f"file:{partial}", "w", format=kind, options=options) as output:
                if keep_metadata:
                    output.metadata.update(source.container.metadata)
                tracks = _Encoder(output, source, codec)
                try:
                    yield tracks.write
                except KeyboardInterrupt as error:
                    interrupt = error
                if tracks.track is None:
                    raise interrupt or ValueError(f"{path}: there is no frame to write")
                tracks.finish(rest_of_audio=interrupt is None)
        except av.FFmpegError as error:
            if interrupt is not None:
                # Ctrl-C counts for more: after an error, the next file would begin.
                raise interrupt from error
            raise readable(error, path, f"cannot be written: {error.strerror}") from error
    if interrupt is not None:
        raise interrupt


def _codec(kind: str, encoder: str | None, crf: int | None) -> Codec:
    """The codec for a container, or that of the `encoder`."""
    name, options = VP9 if kind == "webm" else H264
    if encoder is not None and encoder != name:
        check_encoder(encoder)
        name, options = encoder, QUIET.get(encoder, {})
    return name, options if crf is None else {**options, "crf": str(crf)}


class _Encoder:
    """The tracks of the written video, created with the first frame."""

    def __init__(self, output: OutputContainer, source: Video, codec: Codec) -> None:
        self._output, self._source, self._codec = output, source, codec
        self.track: VideoStream | None = None
        self._audio: dict[int, AudioStream] = {}
        self._last_pts = -1

    def write(self, image: Image, time: float) -> None:
        """Encode a frame, and copy the audio up to it."""
        if self.track is None:
            self.track = _add_video(self._output, self._source, image, self._codec)
            self._audio = _add_audio(self._output, self._source)
        frame = _to_frame(image, self.track)
        frame.time_base = self.track.codec_context.time_base
        pts = round((time - self._source.span.start) / frame.time_base)
        # Encoders refuse times that do not increase.
        self._last_pts = frame.pts = max(pts, self._last_pts + 1)
        self._copy_audio(time)
        self._output.mux(self.track.encode(frame))

    def finish(self, *, rest_of_audio: bool) -> None:
        """Flush the encoder."""
        if rest_of_audio:
            self._copy_audio(math.inf)
        if self.track is not None:
            self._output.mux(self.track.encode())

    def _copy_audio(self, until: float) -> None:
        for packet in self._source.audio(until):
            packet.stream = self._audio[packet.stream_index]
            self._output.mux(packet)


def _add_video(output: OutputContainer, source: Video, image: Image, codec: Codec) -> VideoStream:
    """Add the video track; `image` is its first frame."""
    name, options = codec
    rate = source.frame_rate / source.span.every
    track = cast("VideoStream", output.add_stream(name, rate=rate, options=options))
    height, width = image.shape[:2]
    # The chroma planes have half the resolution.
    track.width, track.height = width + width % 2, height + height % 2
    track.pix_fmt = "yuv420p"
    context = track.codec_context
    context.max_b_frames = 0
    context.time_base = source.stream.time_base or Fraction(1, 1000)
    aspect = source.stream.sample_aspect_ratio or Fraction(1)
    first = source.first
    if first is not None:
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        context.color_range = first.color_range
        context.colorspace = first.colorspace if first.colorspace in MATRICES else UNSPECIFIED
        transposed, _, _ = orientation(first)
        aspect = 1 / aspect if transposed else aspect
    context.sample_aspect_ratio = aspect
    return track


def _add_audio(output: OutputContainer, source: Video) -> dict[int, AudioStream]:
    """Add a copy of each audio track, by the index of the original."""
    copies = {}
    for stream in source.container.streams.audio:
        try:
            copy = output.add_stream_from_template(stream)
        except ValueError as error:
            raise ValueError(f"{source.path}: its audio cannot be copied: {error}") from error
        if stream.language:
            copy.metadata["language"] = stream.language
        copies[stream.index] = copy
    return copies


def _to_frame(image: Image, track: VideoStream) -> VideoFrame:
    """An image as the track takes it; odd sides get their last pixels repeated."""
    width, height = track.width, track.height
    missing = height - image.shape[0], width - image.shape[1]
    if missing != (0, 0) and set(missing) <= {0, 1}:
        image = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), "edge")
    context = track.codec_context
    frame: VideoFrame = pyav().VideoFrame.from_ndarray(image, format="rgb24")
    # FFmpeg resizes where the video changes its size on the way.
    return frame.reformat(
        width=width,
        height=height,
        format="yuv420p",
        dst_colorspace=None if context.colorspace == UNSPECIFIED else context.colorspace,
        dst_color_range=context.color_range or None,
    )
