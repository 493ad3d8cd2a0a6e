"""Whatever a person points at as one iterator of frames: pictures, videos and cameras."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Protocol

import cv2
import numpy as np

from extd.images import read_image
from extd.media.frame import Fault, Frame
from extd.media.sources import find_media, is_video
from extd.media.video import WHOLE, Span, read_video

CAMERA = "camera:"
NETWORK = ("rtsp://", "rtsps://")
PATIENCE = 10_000
"""Milliseconds that a camera on the network may say nothing."""


class Camera(Protocol):
    """What is needed of a `cv2.VideoCapture`."""

    def read(self) -> tuple[bool, Any]: ...  # noqa: D102
    def release(self) -> None: ...  # noqa: D102


def open_source(
    source: str | Path | Iterable[str | Path], span: Span = WHOLE
) -> Generator[Frame | Fault, None, None]:
    """The frames of anything that has some, one after the other.

    A picture that cannot be read, and what is missing of a broken video, come as a `Fault`; the
    others go on. Decoders and cameras are freed when the iterator ends, is closed, or is no longer
    used.

    Args:
        source: one of
            - a picture, a video, a folder (with the folders in it) or a glob, or several of them;
            - `camera:0`, the first camera of this machine, `camera:1` ...;
            - an address that begins with `rtsp://`.
            Of a camera the newest frame is given each time, those that came meanwhile are dropped.
        span: which frames of videos.

    Raises:
        ImportError: there is a video, and PyAV is missing.
        ValueError: the number of a camera is none.
    """
    if isinstance(source, str) and is_camera(source):
        yield from _read_camera(source)
        return
    for found in find_media([source] if isinstance(source, str | Path) else source):
        if is_video(found.path):
            yield from read_video(found.path, span)
        else:
            yield _read_picture(found.path)


def is_camera(source: str) -> bool:
    """Whether it names a camera, of this machine or on the network."""
    return source.startswith((CAMERA, *NETWORK))


def without_password(address: str) -> str:
    """The address of a camera as results and messages may tell it: without user and password."""
    return re.sub(r"(?<=://)[^/]*@", "", address)


def _read_picture(path: Path) -> Frame | Fault:
    """A picture file as a frame."""
    try:
        return Frame(read_image(path), str(path))
    except (ValueError, OSError) as error:
        return Fault(str(path), error)
    except MemoryError:
        too_large = ValueError(f"{path} is too large for the memory of this machine")
        return Fault(str(path), too_large)


def _read_camera(address: str) -> Iterator[Frame | Fault]:
    """The newest frames of a camera of this machine or on the network."""
    if address.startswith(CAMERA):
        number = address.removeprefix(CAMERA)
        if not number.isdecimal() or len(number) > 4:
            raise ValueError(f"{address} is no camera; give camera:0, camera:1 ...")
        camera = cv2.VideoCapture(int(number))
    else:
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            PATIENCE,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            PATIENCE,
        ]
        camera = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
    name = without_password(address)
    count = 0
    for frame in newest(camera, name):
        yield frame
        count += 1
    if count == 0:
        yield Fault(name, OSError(f"{name} gives no pictures; is it there, and free?"))
    elif address.startswith(NETWORK):
        yield Fault(name, OSError(f"{name} stopped giving pictures after {count:,}"))


def newest(camera: Camera, name: str) -> Iterator[Frame]:
    """Frames of a camera, each the newest at the time, until it gives no more.

    A thread reads them all, so that none is old. The index counts those that were dropped, too,
    and the time begins when reading does. The camera is released in the end.
    """
    begin = time.monotonic()
    latest: deque[tuple[int, float, Any]] = deque(maxlen=1)
    changed = Condition()
    stopped = ended = False

    def read() -> None:
        nonlocal ended
        index = 0
        try:
            while not stopped:
                there, bgr = camera.read()
                if not there:
                    break
                with changed:
                    latest.append((index, time.monotonic() - begin, bgr))
                    changed.notify()
                index += 1
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
                    return
                index, seconds, bgr = latest.pop()
            image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(image, name, index, seconds)
    finally:
        stopped = True
        reader.join()
        camera.release()
