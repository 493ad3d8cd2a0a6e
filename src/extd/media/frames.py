"""Images, videos and cameras as one iterator of frames."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from extd.images import read_image
from extd.media.animation import frame_count, open_animation
from extd.media.sources import find_media, is_video
from extd.media.video import WHOLE, Fault, Frame, Span, open_video, pyav, upright

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

CAMERA = "camera:"
NETWORK = ("rtsp://", "rtsps://")
TIMEOUT = 10.0
"""Seconds that a network camera may be silent."""
POLL = 0.005
"""Seconds between two attempts to read a camera that has no frame yet."""


def open_source(
    source: str | Path | Iterable[str | Path], span: Span = WHOLE
) -> Generator[Frame | Fault, None, None]:
    """Yield the frames of images, videos or a camera, one after the other.

    Animations and documents yield all of their frames and pages. A `Fault` stands for an image
    that cannot be read and for what is missing from a broken video;
    the rest goes on. Decoders and cameras are released when the generator ends or is closed.

    Args:
        source: one of
            - an image, a video, a folder (with its subfolders) or a glob, or several of them;
            - `camera:0`, the first camera of this machine, `camera:1` ...;
            - an address that begins with `rtsp://`.
            A camera always yields its newest frame and drops those that came meanwhile.
        span: which frames of videos and of a camera, whose time begins at 0.

    Raises:
        ImportError: there is a video or a camera, and PyAV is missing.
        ValueError: the name of a camera is malformed; see `check_camera`.
    """
    if isinstance(source, str) and is_camera(source):
        check_camera(source)
        yield from _read_camera(source, span)
        return
    for found in find_media([source] if isinstance(source, str | Path) else source):
        path = found.path
        try:
            if is_video(path):
                with open_video(path, span) as video:
                    yield from video.frames()
            elif frame_count(path) > 1:
                with open_animation(path) as animation:
                    yield from animation.frames()
            else:
                yield Frame(read_image(path), str(path))
        except (ValueError, OSError) as error:
            yield Fault(str(path), error)


def is_camera(source: str) -> bool:
    """Whether a source is a camera, of this machine or on the network."""
    return source.startswith((CAMERA, *NETWORK))


def check_camera(address: str) -> None:
    """Refuse a malformed name of a camera.

    Raises:
        ValueError: `camera:` is not followed by a number, or `rtsp://` not by a host.
    """
    if address.startswith(CAMERA):
        number = address.removeprefix(CAMERA)
        if not re.fullmatch("[0-9]{1,4}", number):
            raise ValueError(f"{address} is no camera; give camera:0, camera:1 ...")
    elif not urlsplit(address).hostname:
        name = without_password(address)
        raise ValueError(f"{name} names no host; give an address like rtsp://192.168.1.9/stream")


def without_password(address: str) -> str:
    """The address of a camera without user and password, for results and messages."""
    return re.sub(r"(?<=://)[^/]*@", "", address)


def _read_camera(address: str, span: Span) -> Iterator[Frame | Fault]:
    """Yield the newest frames of a camera, and a `Fault` if it fails."""
    name = without_password(address)
    count = shown = 0
    reason = ""
    try:
        with open_camera(address) as decoded, closing(newest(decoded, name)) as frames:
            for frame in frames:
                count += 1
                if frame.time >= span.stop:
                    return
                if frame.time >= span.start:
                    if shown % span.every == 0:
                        yield frame
                    shown += 1
    except pyav().FFmpegError as error:
        # Without the rest of the message, which holds the password.
        reason = f" ({error.strerror})"
    if count == 0:
        yield Fault(name, OSError(f"{name} gives no images; is it there, and free?{reason}"))
    elif address.startswith(NETWORK):
        yield Fault(name, OSError(f"{name} stopped giving images after {count:,}{reason}"))


@contextmanager
def open_camera(address: str) -> Iterator[Iterator[VideoFrame]]:
    """Open a camera, and give an iterator over its frames.

    Raises:
        ValueError: this machine has no such camera.
        av.FFmpegError: it cannot be opened.
    """
    av = pyav()
    if address.startswith(CAMERA):
        file, kind = _device(int(address.removeprefix(CAMERA)))
        container = av.open(file, format=kind)
    else:
        # UDP, FFmpeg's default, loses packets.
        options = {"rtsp_transport": "tcp"}
        container = av.open(address, timeout=TIMEOUT, options=options)
    with container:
        yield _decode(container)


def _device(number: int) -> tuple[str, str]:
    """The name of a camera of this machine, and FFmpeg's name of the system's interface."""
    if sys.platform == "darwin":
        return str(number), "avfoundation"
    if sys.platform == "win32":
        # DirectShow knows cameras by their names only.
        devices = pyav().enumerate_input_devices("dshow")
        cameras = [device.name for device in devices if "video" in device.media_types]
        if number < len(cameras):
            return f"video={cameras[number]}", "dshow"
        raise ValueError(f"{CAMERA}{number} is not there; this machine has {len(cameras)} cameras")
    return f"/dev/video{number}", "v4l2"


def _decode(container: Any) -> Iterator[VideoFrame]:
    """Yield the frames of an open camera; damaged packets are skipped."""
    av = pyav()
    while True:
        try:
            for packet in container.demux(video=0):
                try:
                    decoded = packet.decode()
                except av.InvalidDataError:
                    continue
                yield from decoded
            return
        except av.BlockingIOError:
            # AVFoundation does not wait for the next frame.
            time.sleep(POLL)


def newest(decoded: Iterator[VideoFrame], name: str) -> Generator[Frame, None, None]:
    """Yield the newest frame of a camera each time, until it gives no more.

    A thread reads all frames, so that none is old. The index also counts dropped frames, and the
    time begins with reading.
    """
    begin = time.monotonic()
    latest: Queue[tuple[int, float, VideoFrame] | Exception | None] = Queue(1)
    stopped = Event()

    def read() -> None:
        end: Exception | None = None
        try:
            for index, frame in enumerate(decoded):
                with suppress(Empty):
                    latest.get_nowait()
                latest.put((index, time.monotonic() - begin, frame))
                if stopped.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - the consumer raises it
            end = error
        # Waits until the last frame is taken.
        latest.put(end)

    reader = Thread(target=read, name=f"frames of {name}", daemon=True)
    reader.start()
    try:
        while isinstance(item := latest.get(), tuple):
            index, seconds, frame = item
            yield Frame(read_image(upright(frame)), name, index, seconds)
    finally:
        stopped.set()
        with suppress(Empty):
            latest.get_nowait()
        reader.join()
    if item is not None:
        raise item
