"""A frame: a picture that has a place in time."""

from __future__ import annotations

from dataclasses import dataclass, field

from extd.images import Image


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image: uint8 [H, W, 3], RGB, upright.
        name: the file, or the address of the camera.
        index: position among the frames of its source from where reading began, from 0; 0 for a
            picture.
        time: seconds since the source's beginning; 0 for a picture.
    """

    image: Image = field(repr=False)
    name: str
    index: int = 0
    time: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """What comes in place of frames that cannot be had; the other sources go on.

    Attributes:
        name: the file, or the address of the camera.
        error: why; its message names the source.
    """

    name: str
    error: Exception
