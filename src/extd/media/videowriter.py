"""Video files written like their source: with its frame rate, times, colors and audio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import numpy as np
from numpy.typing import NDArray

from extd.files import atomic_write, shorten
from extd.media.audio import MKV, AudioMode, AudioPlan, AudioTracks, open_output, plan_audio
from extd.media.video import Video, orientation, pyav, readable

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": MKV, ".webm": "webm"}
"""FFmpeg's names of the containers that are written, by suffix."""
# No B-frames: with them, varying frame times shorten an MP4.
H264 = "libx264", "yuv420p", {"crf": "20", "preset": "veryfast", "bf": "0"}
# WebM does not hold H.264.
VP9 = "libvpx-vp9", "yuv420p", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6"}
# Its alternate reference frames exclude transparency.
ALPHA_VP9 = VP9[0], "yuva420p", {**VP9[2], "auto-alt-ref": "0"}
ALPHA_PRORES = "prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "8"}
ALPHA = {"mov": ALPHA_PRORES, MKV: ALPHA_VP9, "webm": ALPHA_VP9}
"""How containers hold video with transparency."""
QUIET = {"libx265": {"x265-params": "log-level=error"}}
"""Encoders that would print their settings."""
MAX_CRF = 63
MATRICES = frozenset({1, 5, 6, 7, 9})
"""RGB to YUV conversions that are kept, as in ISO/IEC 23091-2: BT.709, 601 and 2020."""
UNSPECIFIED = 2

Codec = tuple[str, str, dict[str, str]]
"""FFmpeg's name of an encoder, the pixel format, and options."""
Write = Callable[[NDArray[np.uint8], float], None]
"""Append a frame and its time in seconds in the source: uint8, RGB [H, W, 3] or RGBA [H, W, 4]."""


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """How a video is written.

    Attributes:
        audio: `auto` copies each track that some container holds and encodes the others as AAC
            (Opus in WebM); `copy` leaves the others out; `encode` encodes all of them, so that
            the file keeps its name; `drop` writes none.
        encoder: FFmpeg's name of an encoder, such as `libx265`, instead of the container's usual
            one.
        crf: its constant rate factor, 0 to 63; lower is better and larger.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    audio: AudioMode = "auto"
    encoder: str | None = None
    crf: int | None = None

    def __post_init__(self) -> None:
        if self.audio not in get_args(AudioMode):
            raise ValueError(f"audio is {self.audio!r}; give {', '.join(get_args(AudioMode))}")
        if self.crf is not None and not 0 <= self.crf <= MAX_CRF:
            raise ValueError(f"crf is {self.crf}; give 0 to {MAX_CRF}")


PLAIN = VideoOptions()


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
    path: str | Path, source: Video, options: VideoOptions = PLAIN, *, keep_metadata: bool = False
) -> Iterator[Write]:
    """Write a video with the frame rate, times, colors and audio of an open one.

    The file appears when the block ends: complete, or after Ctrl-C with the frames so far; after
    another error not at all. Frames are encoded as H.264 (VP9 in WebM) with even width and height;
    if the first one is transparent, as VP9 or, in MOV, ProRes. Other tracks, such as subtitles and
    covers, are dropped. `source.notes` tells what was not simply copied.

    Args:
        path: its suffix is one of `CONTAINERS`. Folders are created. If only MKV can hold a copy
            of the audio, it is written as MKV, and `.mkv` is added to the name.
        source: the video that the frames come from; read them inside the block.
        options: the encoder and what becomes of the audio.
        keep_metadata: copy the file's tags, such as place, time and camera.

    Yields:
        A function that appends a frame; call it in order of time.

    Raises:
        ValueError: no frame was written, or the container is unknown or holds no transparency.
        OSError: the file cannot be written, as on a full disk.
    """
    av = pyav()
    path = Path(path)
    interrupt: KeyboardInterrupt | None = None
    kind = CONTAINERS.get(path.suffix.lower(), "")
    if not kind:
        raise ValueError(f"{path}: videos are written as {', '.join(CONTAINERS)}")
    plan = plan_audio(source.container.streams.audio, kind, options.audio)
    source.notes += plan.notes
    if plan.kind != kind:
        path = shorten(path.with_name(f"{path.name}.mkv"))
    # Without it, these two keep only a few of the tags.
    all_tags = keep_metadata and plan.kind in {"mp4", "mov"}
    flags = {"movflags": "use_metadata_tags"} if all_tags else {}
    source.keep_audio(one.index for one in (*plan.copied, *plan.encoded))
    with atomic_write(path) as partial:
        try:
            with open_output(partial, plan.kind, flags) as output:
                if keep_metadata:
                    output.metadata.update(source.container.metadata)
                tracks = _Encoder(output, source, plan, options)
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


def _codec(source: Video, kind: str, options: VideoOptions, *, transparent: bool) -> Codec:
    """The codec for a container, or that of the chosen encoder."""
    if transparent and kind not in ALPHA:
        raise ValueError(
            f"{source.path}: MP4 cannot hold its transparency; write it as MKV, WebM or MOV"
        )
    name, pixel_format, flags = ALPHA[kind] if transparent else VP9 if kind == "webm" else H264
    if options.encoder is not None and options.encoder != name:
        if transparent:
            raise ValueError(
                f"{source.path}: {options.encoder} loses transparency; leave out the encoder"
            )
        check_encoder(options.encoder)
        name, flags = options.encoder, QUIET.get(options.encoder, {})
    return name, pixel_format, flags if options.crf is None else {**flags, "crf": str(options.crf)}


class _Encoder:
    """The tracks of the written video, created with the first frame."""

    def __init__(
        self, output: OutputContainer, source: Video, plan: AudioPlan, options: VideoOptions
    ) -> None:
        self._output, self._source, self._plan, self._options = output, source, plan, options
        self.track: VideoStream | None = None
        self._audio: AudioTracks | None = None
        self._last_pts = -1

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Encode a frame, and write the audio up to it."""
        if self.track is None:
            transparent = image.shape[2] == 4
            codec = _codec(self._source, self._plan.kind, self._options, transparent=transparent)
            self.track = _add_video(self._output, self._source, image, codec)
            self._audio = AudioTracks(self._output, self._plan)
        frame = _to_frame(image, self.track)
        frame.time_base = self.track.codec_context.time_base
        pts = round((time - self._source.span.start) / frame.time_base)
        # Encoders refuse times that do not increase.
        self._last_pts = frame.pts = max(pts, self._last_pts + 1)
        self._write_audio(time)
        self._output.mux(self.track.encode(frame))

    def finish(self, *, rest_of_audio: bool) -> None:
        """Flush the encoders."""
        if rest_of_audio:
            self._write_audio(math.inf)
        if self._audio is not None:
            self._audio.finish()
            if lost := self._audio.lost:
                packets = "packet of audio is" if lost == 1 else "packets of audio are"
                self._source.notes.append(f"{lost:,} {packets} broken")
        if self.track is not None:
            self._output.mux(self.track.encode())

    def _write_audio(self, until: float) -> None:
        for packet in self._source.audio(until):
            if self._audio is not None:
                self._audio.write(packet)


def _add_video(
    output: OutputContainer, source: Video, image: NDArray[np.uint8], codec: Codec
) -> VideoStream:
    """Add the video track; `image` is its first frame."""
    name, pixel_format, options = codec
    rate = source.frame_rate / source.span.every
    track = cast("VideoStream", output.add_stream(name, rate=rate, options=options))
    height, width = image.shape[:2]
    # The chroma planes have half the resolution.
    track.width, track.height = width + width % 2, height + height % 2
    track.pix_fmt = pixel_format
    context = track.codec_context
    context.max_b_frames = 0
    # The `tee` of `open_output` does not tell that MKV needs this.
    context.flags |= pyav().codec.context.Flags.global_header
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


def _to_frame(image: NDArray[np.uint8], track: VideoStream) -> VideoFrame:
    """An image as the track takes it; odd sides get their last pixels repeated."""
    width, height = track.width, track.height
    missing = height - image.shape[0], width - image.shape[1]
    if missing != (0, 0) and set(missing) <= {0, 1}:
        image = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), "edge")
    context = track.codec_context
    channels = "rgb24" if image.shape[2] == 3 else "rgba"
    frame: VideoFrame = pyav().VideoFrame.from_ndarray(image, format=channels)
    # FFmpeg resizes where the video changes its size on the way.
    return frame.reformat(
        width=width,
        height=height,
        format=track.pix_fmt,
        dst_colorspace=None if context.colorspace == UNSPECIFIED else context.colorspace,
        dst_color_range=context.color_range or None,
    )
