"""A picture turned or mirrored for a pass of the network, and its boxes turned back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extd.boxes import Boxes, mirror, turn
from extd.images import Image


@dataclass(frozen=True, slots=True)
class Pose:
    """How a picture lies in a pass.

    Attributes:
        quarters: quarter turns clockwise.
        mirrored: left to right, after the turns.
    """

    quarters: int
    mirrored: bool


def posed(image: Image, pose: Pose) -> Image:
    """A view of the picture in that pose."""
    turned = np.rot90(image, -pose.quarters)
    return turned[:, ::-1] if pose.mirrored else turned


def upright(boxes: Boxes, pose: Pose, width: int, height: int) -> Boxes:
    """Boxes of a picture of `width` x `height` px in that pose, in pixels of the upright one."""
    if pose.quarters % 2:
        width, height = height, width
    boxes = mirror(boxes, width) if pose.mirrored else boxes
    return turn(boxes, -pose.quarters, width, height)
