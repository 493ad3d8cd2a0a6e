"""Faces drawn into a picture: frames and scores."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from extd.faces import Faces
from extd.images import Image
from extd.media.regions import check_size

LINE = (80, 255, 120)
OUTLINE = (10, 30, 15)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT = 21
"""Height of a digit of `FONT` at scale 1, in pixels."""
PADDING = 3
"""Pixels between a score and the edge of its label."""
FREE, TAKEN = -1, -2
"""Owner of a pixel where nothing is, and where a score is; a frame's is the face's index."""


class Frame(NamedTuple):
    """Where the line around a face runs: just outside these whole pixels, thickness in pixels."""

    x1: int
    y1: int
    x2: int
    y2: int
    thickness: int


def annotate(image: Image, faces: Faces) -> Image:
    """Draw a frame around every face, with its score where there is room.

    Frames lie just outside the boxes, so that tiny faces stay visible. A score goes above or
    below its frame, in a large one also inside. The best come first, and a score that would cover
    another or another face is left out.

    Args:
        image: uint8 [H, W, 3], RGB; it is not changed.
        faces: those of this image.

    Returns:
        A new image of the same size.

    Raises:
        ValueError: `faces` are of a picture of another size.
    """
    check_size(image, faces)
    height, width = image.shape[:2]
    canvas = image.copy()
    frames = [_frame(box, max(height, width)) for box in faces.boxes]
    for frame in frames:
        _draw_rings(canvas, frame, 0, frame.thickness + 2, OUTLINE)
    # Lines after all outlines, which would cut neighbours' lines.
    for frame in frames:
        _draw_rings(canvas, frame, 1, frame.thickness + 1, LINE)
    best_first = np.argsort(-faces.scores, kind="stable").tolist()
    owners = np.full((height, width), FREE, np.int32)
    for index in reversed(best_first):
        x1, y1, x2, y2, _ = frames[index]
        owners[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = index
    for index in best_first:
        _draw_score(canvas, owners, index, float(faces.scores[index]), frames[index])
    return canvas


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
    canvas: Image, owners: NDArray[np.int32], index: int, score: float, frame: Frame
) -> None:
    """Write the score of face `index` above, below or in its frame, if no other face is there.

    `owners` [H, W] tells whose each pixel is, and gets the label's.
    """
    height, width = owners.shape
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
        if left < 0 or top < 0 or top + label_height > height:
            continue
        label = np.s_[top : top + label_height, left : left + label_width]
        if np.isin(owners[label], (FREE, index)).all():
            owners[label] = TAKEN
            canvas[label] = LINE
            origin = (left + PADDING, top + PADDING + text_height)
            cv2.putText(canvas, text, origin, FONT, scale, OUTLINE, weight, cv2.LINE_AA)
            return
