"""Images, videos and cameras as one iterator of frames."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from extd.images import read_image
from extd.media.sources import find_media, is_video
from extd.media.video import WHOLE, Fault, Frame, Span, pyav, read_video, upright

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

CAMERA = "camera:"
NETWORK = ("rtsp://", "rtsps://")
TIMEOUT = 10.0
"""Seconds that a camera on the network may be silent."""
POLL = 0.005
"""Seconds between two looks at a camera that has no frame yet."""


def open_source(
    source: str | Path | Iterable[str | Path], span: Span = WHOLE
) -> Generator[Frame | Fault, None, None]:
    """Yield the frames of images, videos or a camera, one after the other.

    An image that cannot be read, and what is missing from a broken video, come as a `Fault`; the
    rest goes on. Decoders and cameras are released when the generator ends or is closed.

    Args:
        source: one of
            - an image, a video, a folder (with its subfolders) or a glob, or several of them;
            - `camera:0`, the first camera of this machine, `camera:1` ...;
            - an address that begins with `rtsp://`.
            A camera yields its newest frame each time; those that came meanwhile are dropped.
        span: which frames of videos and of a camera, whose time begins at 0.

    Raises:
        ImportError: there is a video or a camera, and PyAV is missing.
        ValueError: the source is a camera that cannot be; see `check_camera`.
    """
    if isinstance(source, str) and is_camera(source):
        check_camera(source)
        yield from within(_read_camera(source), span)
        return
    for found in find_media([source] if isinstance(source, str | Path) else source):
        if is_video(found.path):
            yield from read_video(found.path, span)
        else:
            yield _read_image(found.path)


def within(frames: Iterable[Frame | Fault], span: Span) -> Iterator[Frame | Fault]:
    """Yield the frames of a camera that are in a span."""
    count = 0
    for item in frames:
        if not isinstance(item, Fault):
            if span.end is not None and item.time >= span.end:
                return
            if item.time < span.start:
                continue
            count += 1
            if (count - 1) % span.every:
                continue
        yield item


def is_camera(source: str) -> bool:
    """Whether the text names a camera, of this machine or on the network."""
    return source.startswith((CAMERA, *NETWORK))


def check_camera(address: str) -> None:
    """Refuse what cannot be the address of a camera.

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


def _read_image(path: Path) -> Frame | Fault:
    """An image file as a frame."""
    try:
        return Frame(read_image(path), str(path))
    except (ValueError, OSError) as error:
        return Fault(str(path), error)
    except MemoryError:
        too_large = ValueError(f"{path} is too large for the memory of this machine")
        return Fault(str(path), too_large)


def _read_camera(address: str) -> Iterator[Frame | Fault]:
    """Yield the newest frames of a camera; a `Fault` tells of one that fails."""
    name = without_password(address)
    count, reason = 0, ""
    try:
        with open_camera(address) as decoded:
            for frame in newest(decoded, name):
                yield frame
                count += 1
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

    A thread takes them all, so that none is old. The index counts the dropped ones, too, and the
    time begins when reading does.
    """
    begin = time.monotonic()
    latest: deque[tuple[int, float, VideoFrame]] = deque(maxlen=1)
    changed = Condition()
    stopped = ended = False
    failure: list[Exception] = []

    def read() -> None:
        nonlocal ended
        try:
            for index, frame in enumerate(decoded):
                with changed:
                    latest.append((index, time.monotonic() - begin, frame))
                    changed.notify()
                if stopped:
                    break
        except (ValueError, OSError, pyav().FFmpegError) as error:
            failure.append(error)
        finally:
            with changed:
                ended = True
                changed.notify()

    reader = Thread(target=read, name=f"frames of {name}", daemon=True)
    reader.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: latest or ended)
                if not latest:
                    break
                index, seconds, frame = latest.pop()
            yield Frame(upright(frame), name, index, seconds)
    finally:
        stopped = True
        reader.join()
    if failure:
        raise failure[0]
