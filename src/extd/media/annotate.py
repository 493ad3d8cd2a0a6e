"""Faces drawn into an image: frames and scores."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from extd.faces import Faces
from extd.images import Image
from extd.media.crops import canvas_of

Color = tuple[int, int, int]
LINE: Color = (80, 255, 120)
OUTLINE: Color = (10, 30, 15)
DIGIT = 0.72
"""Height of a digit of Pillow's own font, as a share of the font's size."""
PADDING = 3
"""Pixels between a score and the edge of its label."""


class Frame(NamedTuple):
    """Where the line around a face runs: just outside these whole pixels, thickness in pixels."""

    x1: int
    y1: int
    x2: int
    y2: int
    thickness: int


def annotate(
    image: Image, faces: Faces, *, landmarks: bool = False, out: Image | None = None
) -> Image:
    """Draw a frame around every face, with its score where there is room.

    Frames lie just outside the boxes, so that tiny faces stay visible. A score goes above or
    below its frame, in a large one also inside. The best come first, and a score that would cover
    another or another face is left out.

    Args:
        image: uint8 [H, W, 3], RGB; it is not changed.
        faces: those of this image.
        landmarks: mark them with dots, if the faces have any.
        out: the image to draw into, as large; `image` itself, where memory is scarce.

    Returns:
        `out`, or a new image.

    Raises:
        ValueError: `image` or `out` is no such array; `faces` are of an image of another size.
    """
    canvas = canvas_of(image, faces, out)
    frames = [_frame(box, max(image.shape[:2])) for box in faces.boxes]
    for frame in frames:
        _draw_border(canvas, frame, 0, frame.thickness + 2, OUTLINE)
    # Lines after all outlines, which would cut neighbors' lines.
    for frame in frames:
        _draw_border(canvas, frame, 1, frame.thickness + 1, LINE)
    # Rows of faces, and then of their scores where there are some; nothing of others goes there.
    taken = np.zeros((2 * len(frames), 4), np.int64)
    taken[: len(frames)] = np.array([frame[:4] for frame in frames]).reshape(-1, 4)
    for index in np.argsort(-faces.scores, kind="stable").tolist():
        others = np.delete(taken, index, axis=0)
        label = _draw_score(canvas, others, float(faces.scores[index]), frames[index])
        if label is not None:
            taken[len(frames) + index] = label
    if landmarks and faces.landmarks is not None:
        for points, frame in zip(faces.landmarks, frames, strict=True):
            radius = max((frame.x2 - frame.x1) / 40, 0.5)
            for point in points:
                _draw_dot(canvas, point, radius + 1, OUTLINE)
            for point in points:
                _draw_dot(canvas, point, radius, LINE)
    return canvas


def _draw_dot(canvas: Image, center: NDArray[np.float32], radius: float, color: Color) -> None:
    """Fill the pixels whose centers lie in a circle."""
    x1, y1 = np.floor(center - radius).clip(0).astype(int)
    x2, y2 = np.ceil(center + radius).clip(0).astype(int)
    part = canvas[y1:y2, x1:x2]
    rows, columns = np.ogrid[y1 : y1 + part.shape[0], x1 : x1 + part.shape[1]]
    part[np.hypot(columns + 0.5 - center[0], rows + 0.5 - center[1]) <= radius] = color


def _frame(box: NDArray[np.float32], longest: int) -> Frame:
    """The frame of a box [4] in an image of that longer side."""
    side = float((box[2:] - box[:2]).max())
    thickness = max(side / 30, min(longest / 1200, side / 12))
    thickness = max(1, round(min(thickness, longest / 250)))
    x1, y1 = np.floor(box[:2]).astype(int).tolist()
    x2, y2 = np.ceil(box[2:]).astype(int).tolist()
    return Frame(x1, y1, x2, y2, thickness)


def _draw_border(canvas: Image, frame: Frame, inner: int, outer: int, color: Color) -> None:
    """Fill what lies from `inner` to `outer` pixels outside of a face."""
    # Slices end at the far borders by themselves.
    left, top, right, bottom = (max(side, 0) for side in _wider(frame, outer))
    left_in, top_in, right_in, bottom_in = (max(side, 0) for side in _wider(frame, inner))
    canvas[top:top_in, left:right] = color
    canvas[bottom_in:bottom, left:right] = color
    canvas[top:bottom, left:left_in] = color
    canvas[top:bottom, right_in:right] = color


def _wider(frame: Frame, by: int) -> tuple[int, int, int, int]:
    return frame.x1 - by, frame.y1 - by, frame.x2 + by, frame.y2 + by


def _draw_score(
    canvas: Image, others: NDArray[np.int64], score: float, frame: Frame
) -> tuple[int, int, int, int] | None:
    """Write a score above, below or in its frame, where none of `others` [N, 4] is; tell where."""
    height, width = canvas.shape[:2]
    x1, y1, x2, y2, thickness = frame
    longest = max(height, width)
    digits = max(9.0, longest / 160, min((x2 - x1) / 6, longest / 50))
    text = _text(f"{score:.2f}", round(digits / DIGIT))
    label_height, label_width = (side + 2 * PADDING for side in text.shape)
    left = min(max(x1 - 1 - thickness, 0), width - label_width)
    tops = [y1 - 1 - thickness - label_height, y2 + 1 + thickness]
    if y2 - y1 > 4 * label_height:
        tops.append(max(y1, 0))
    for top in tops:
        right, bottom = left + label_width, top + label_height
        if left < 0 or top < 0 or bottom > height:
            continue
        near = np.maximum(others[:, :2], (left, top))
        far = np.minimum(others[:, 2:], (right, bottom))
        if (near < far).all(axis=1).any():
            continue
        label = np.pad(text, PADDING)[..., None]
        canvas[top:bottom, left:right] = np.rint(LINE + label * np.subtract(OUTLINE, LINE))
        return left, top, right, bottom
    return None


@lru_cache(maxsize=256)
def _text(text: str, size: int) -> NDArray[np.float32]:
    """How much of each pixel a text in that size covers, 0 to 1, without an edge."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    mask = PIL.Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).text((-left, -top), text, 255, font)
    covered = np.asarray(mask, np.float32) / np.float32(255)
    covered.flags.writeable = False
    return covered
