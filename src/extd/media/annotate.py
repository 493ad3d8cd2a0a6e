"""Faces drawn into a picture: frames and scores."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from extd.faces import Faces
from extd.images import Image
from extd.media.regions import check_size, copied

LINE = (80, 255, 120)
OUTLINE = (10, 30, 15)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT = 21
"""Height of a digit of `FONT` at scale 1, in pixels."""
PADDING = 3
"""Pixels between a score and the edge of its label."""


class Frame(NamedTuple):
    """Where the line around a face runs: just outside these whole pixels, thickness in pixels."""

    x1: int
    y1: int
    x2: int
    y2: int
    thickness: int


def annotate(image: Image, faces: Faces, *, out: Image | None = None) -> Image:
    """Draw a frame around every face, with its score where there is room.

    Frames lie just outside the boxes, so that tiny faces stay visible. A score goes above or
    below its frame, in a large one also inside. The best come first, and a score that would cover
    another or another face is left out.

    Args:
        image: uint8 [H, W, 3], RGB; it is not changed.
        faces: those of this image.
        out: the image to draw into, as large; `image` itself, where memory is scarce.

    Returns:
        `out`, or a new image.

    Raises:
        ValueError: `image` or `out` is no such array; `faces` are of a picture of another size.
    """
    check_size(image, faces)
    drawn = copied(image, out)
    # OpenCV draws into whole arrays alone; these are the same, but for views as of BGR.
    canvas = np.ascontiguousarray(drawn)
    frames = [_frame(box, max(image.shape[:2])) for box in faces.boxes]
    for frame in frames:
        _draw_rings(canvas, frame, 0, frame.thickness + 2, OUTLINE)
    # Lines after all outlines, which would cut neighbours' lines.
    for frame in frames:
        _draw_rings(canvas, frame, 1, frame.thickness + 1, LINE)
    # Rows of faces, and then of their scores where there are some; nothing of others goes there.
    taken = np.zeros((2 * len(frames), 4), np.int64)
    taken[: len(frames)] = np.array([frame[:4] for frame in frames]).reshape(-1, 4)
    for index in np.argsort(-faces.scores, kind="stable").tolist():
        others = np.delete(taken, index, axis=0)
        label = _draw_score(canvas, others, float(faces.scores[index]), frames[index])
        if label is not None:
            taken[len(frames) + index] = label
    if canvas is not drawn:
        drawn[:] = canvas
    return drawn


def _frame(box: NDArray[np.float32], longest: int) -> Frame:
    """The frame of a box [4] in a picture of that longer side."""
    side = float((box[2:] - box[:2]).max())
    thickness = max(side / 30, min(longest / 1200, side / 12))
    thickness = max(1, round(min(thickness, longest / 250)))
    x1, y1 = np.floor(box[:2]).astype(int).tolist()
    x2, y2 = np.ceil(box[2:]).astype(int).tolist()
    return Frame(x1, y1, x2, y2, thickness)


def _draw_rings(
    canvas: Image, frame: Frame, first: int, last: int, color: tuple[int, int, int]
) -> None:
    """Rectangles of one pixel, `first` to below `last` pixels outside of the face.

    OpenCV's own thick lines are wider than they are told to be.
    """
    for ring in range(first, last):
        top_left = frame.x1 - 1 - ring, frame.y1 - 1 - ring
        bottom_right = frame.x2 + ring, frame.y2 + ring
        cv2.rectangle(canvas, top_left, bottom_right, color)


def _draw_score(
    canvas: Image, others: NDArray[np.int64], score: float, frame: Frame
) -> tuple[int, int, int, int] | None:
    """Write a score above, below or in its frame, where none of `others` [N, 4] is; tell where."""
    height, width = canvas.shape[:2]
    x1, y1, x2, y2, thickness = frame
    longest = max(height, width)
    digits = max(9.0, longest / 160, min((x2 - x1) / 6, longest / 50))
    scale, weight = digits / FONT_HEIGHT, max(1, round(digits / 12))
    text = f"{score:.2f}"
    (text_width, text_height), _ = cv2.getTextSize(text, FONT, scale, weight)
    label_width, label_height = text_width + 2 * PADDING, text_height + 2 * PADDING
    left = min(max(x1 - 1 - thickness, 0), width - label_width)
    tops = [y1 - 1 - thickness - label_height, y2 + 1 + thickness]
    if y2 - y1 > 4 * label_height:
        tops.append(max(y1, 0))
    for top in tops:
        right, bottom = left + label_width, top + label_height
        if left < 0 or top < 0 or bottom > height:
            continue
        near, far = (
            np.maximum(others[:, :2], (left, top)),
            np.minimum(others[:, 2:], (right, bottom)),
        )
        if (near < far).all(axis=1).any():
            continue
        canvas[top:bottom, left:right] = LINE
        origin = (left + PADDING, top + PADDING + text_height)
        cv2.putText(canvas, text, origin, FONT, scale, OUTLINE, weight, cv2.LINE_AA)
        return left, top, right, bottom
    return None
