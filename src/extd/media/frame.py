"""Frames: images that have a place in time."""

from __future__ import annotations

from dataclasses import dataclass, field

from extd.images import Image


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a source.

    Attributes:
        image: uint8 [H, W, 3], RGB, upright.
        name: the file, or the address of the camera.
        index: position among the frames of its source, counted from 0 where reading began.
        time: seconds since the beginning of the source.
    """

    image: Image = field(repr=False)
    name: str
    index: int = 0
    time: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """Comes in place of frames that cannot be read; other sources go on.

    Attributes:
        name: the file, or the address of the camera.
        error: why; its message names the source.
    """

    name: str
    error: Exception
