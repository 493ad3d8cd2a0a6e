"""Faces drawn into an image: frames, scores and landmarks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from extd.boxes import longer_side
from extd.faces import Faces
from extd.media.crops import canvas_of
from extd.pixels import Image

Color = tuple[int, int, int]
WholeBox = NDArray[np.int64]
"""x1, y1, x2, y2 in whole pixels."""

LINE: Color = (80, 255, 120)
OUTLINE: Color = (10, 30, 15)
OUTWARD = np.array([-1, -1, 1, 1])
DIGIT = 0.72
"""Height of a digit of Pillow's own font, as a share of the font's size."""
PADDING = 3
"""Pixels between a score and the edge of its label."""


def annotate(
    image: Image, faces: Faces, *, landmarks: bool = False, out: Image | None = None
) -> Image:
    """Draw a frame around every face, with its id and score where there is room.

    Frames lie just outside the boxes, so that tiny faces stay visible. A score goes above or
    below its frame, in a large one also inside. The best come first, and a score that would cover
    another or another face is left out.

    Args:
        image: uint8 [H, W, 3], RGB; it is not changed.
        faces: those of this image.
        landmarks: mark them with dots, if the faces have any.
        out: the array to draw into, of the same size, instead of a new one; `image` itself saves
            memory.

    Raises:
        ValueError: `image` or `out` is no such array; `faces` are of an image of another size.
    """
    canvas = canvas_of(image, faces, out)
    corners = np.floor(faces.boxes[:, :2]), np.ceil(faces.boxes[:, 2:])
    boxes = np.concatenate(corners, axis=1).astype(np.int64)
    longest = max(image.shape[:2])
    sides = longer_side(faces.boxes).astype(np.float64)
    thickness = np.maximum(sides / 30, np.minimum(longest / 1200, sides / 12))
    widths = np.rint(np.minimum(thickness, longest / 250)).clip(1).astype(int).tolist()
    for box, width in zip(boxes, widths, strict=True):
        _draw_border(canvas, box, 0, width + 2, OUTLINE)
    # Lines after all outlines, which would cut neighbors' lines.
    for box, width in zip(boxes, widths, strict=True):
        _draw_border(canvas, box, 1, width + 1, LINE)
    taken = boxes
    for index in np.argsort(-faces.scores, kind="stable").tolist():
        others = np.delete(taken, index, axis=0)
        face = faces[index]
        text = f"{face.score:.2f}" if face.id is None else f"#{face.id} {face.score:.2f}"
        label = _draw_label(canvas, text, boxes[index], widths[index], others)
        if label is not None:
            taken = np.concatenate([taken, [label]])
    if landmarks and faces.landmarks is not None:
        for points, box in zip(faces.landmarks, boxes, strict=True):
            radius = max((box[2] - box[0]) / 40, 0.5)
            for grown, color in ((radius + 1, OUTLINE), (radius, LINE)):
                for point in points:
                    _draw_dot(canvas, point, grown, color)
    return canvas


def _draw_border(canvas: Image, box: WholeBox, inner: int, outer: int, color: Color) -> None:
    """Fill what lies from `inner` to `outer` pixels outside of a box."""
    # Slices end at the far borders by themselves.
    x1, y1, x2, y2 = (box + outer * OUTWARD).clip(0)
    left, top, right, bottom = (box + inner * OUTWARD).clip(0)
    canvas[y1:top, x1:x2] = color
    canvas[bottom:y2, x1:x2] = color
    canvas[y1:y2, x1:left] = color
    canvas[y1:y2, right:x2] = color


def _draw_dot(canvas: Image, center: NDArray[np.float32], radius: float, color: Color) -> None:
    """Fill the pixels whose centers lie in a circle."""
    x1, y1 = np.floor(center - radius).clip(0).astype(int)
    x2, y2 = np.ceil(center + radius).clip(0).astype(int)
    part = canvas[y1:y2, x1:x2]
    rows, columns = np.ogrid[y1 : y1 + part.shape[0], x1 : x1 + part.shape[1]]
    part[np.hypot(columns + 0.5 - center[0], rows + 0.5 - center[1]) <= radius] = color


def _draw_label(
    canvas: Image, text: str, box: WholeBox, width: int, others: WholeBox
) -> tuple[int, int, int, int] | None:
    """Write a label above, below or in its frame, where none of `others` [N, 4] is; tell where."""
    x1, y1, x2, y2 = box.tolist()
    longest = max(canvas.shape[:2])
    digits = max(9.0, longest / 160, min((x2 - x1) / 6, longest / 50))
    label = _label(text, round(digits / DIGIT))
    height = len(label)
    left = min(max(x1 - 1 - width, 0), canvas.shape[1] - label.shape[1])
    tops = [y1 - 1 - width - height, y2 + 1 + width]
    if y2 - y1 > 4 * height:
        tops.append(max(y1, 0))
    for top in tops:
        right, bottom = left + label.shape[1], top + height
        near = np.maximum(others[:, :2], (left, top))
        far = np.minimum(others[:, 2:], (right, bottom))
        fits = left >= 0 and top >= 0 and bottom <= len(canvas)
        if fits and not (near < far).all(axis=1).any():
            canvas[top:bottom, left:right] = label
            return left, top, right, bottom
    return None


@lru_cache(maxsize=256)
def _label(text: str, size: int) -> Image:
    font = ImageFont.load_default(size)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    label = PIL.Image.new("RGB", (right - left + 2 * PADDING, bottom - top + 2 * PADDING), LINE)
    ImageDraw.Draw(label).text((PADDING - left, PADDING - top), text, OUTLINE, font)
    return np.asarray(label)
