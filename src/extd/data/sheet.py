"""Pictures of a data set, to be looked at: samples with their boxes, and face sizes as bars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, longer_side
from extd.data.check import SIZES, Tally
from extd.data.pixels import read_pixels
from extd.data.sample import Sample
from extd.images import Image

Color = tuple[int, int, int]
PAPER, PANEL, INK, FAINT = (255, 255, 255), (236, 237, 240), (30, 34, 42), (120, 126, 138)
FACE, IGNORED, OUTLINE = (70, 255, 110), (255, 150, 40), (0, 0, 0)
BARS: tuple[Color, ...] = (
    (31, 119, 180),
    (255, 158, 61),
    (62, 160, 85),
    (214, 78, 74),
    (148, 103, 189),
    (140, 100, 80),
    (227, 119, 194),
    (127, 127, 127),
)
"""Colours of the sources, over again where there are more."""

TILE = (400, 300)
"""Width and height of a sample, px."""
CAPTION, GAP = 44, 16
"""Height of the lines below a sample, and space between samples, px."""
COLUMNS, TOP = 4, 60
"""Samples beside each other, and height above them, px."""
MOST_SAMPLES = (65_500 - TOP) // (TILE[1] + CAPTION + GAP) * COLUMNS
"""JPEG holds no sheet of more: libjpeg writes 65,500 px a side."""
VISIBLE = 12
"""Px below which a face on the sheet is too small to judge its box: a part is shown instead."""
ENLARGED = 28
"""Longer side, px, that such a face gets in the part."""
BROAD = 60
"""Px from which a box on the sheet has a thicker frame."""
FONT, FONT_HEIGHT, SMOOTH = cv2.FONT_HERSHEY_SIMPLEX, 21, 4


def choose_samples(pictures: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """`count` pictures at random, as evenly from the sources as can be, in the set's order."""
    rng = np.random.default_rng(seed)
    groups: dict[str, list[int]] = defaultdict(list)
    for index in rng.permutation(len(pictures)).tolist():
        groups[pictures[index].source].append(index)
    # By turns, one of each source; then the order of the sources no longer matters.
    turns = sorted((turn, own[turn]) for own in groups.values() for turn in range(len(own)))
    return [pictures[index] for index in sorted(index for _, index in turns[:count])]


def draw_sheet(
    pictures: Sequence[Sample], count: int = 24, columns: int = COLUMNS, seed: int = 0
) -> Image:
    """Samples of a data set with the boxes of faces and of ignored regions.

    A picture whose faces would be too small to see is shown in part, around one of them. One that
    cannot be read leaves its place empty.

    Args:
        pictures: the set.
        count: how many samples, at most.
        columns: how many beside each other.
        seed: which samples; equal seeds give equal sheets.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ValueError: `count` or `columns` is below 1.
    """
    for name, number in (("count", count), ("columns", columns)):
        if number < 1:
            raise ValueError(f"{name} is {number}; give 1 or more")
    chosen = choose_samples(pictures, count, seed)
    rng = np.random.default_rng(seed)
    columns = min(columns, max(len(chosen), 1))
    rows = -(-len(chosen) // columns)
    width, height = TILE
    step_x, step_y = width + GAP, height + CAPTION + GAP
    sheet = np.full((TOP + rows * step_y, GAP + columns * step_x, 3), PAPER, np.uint8)
    x = GAP
    for color, name in ((FACE, "face"), (IGNORED, "ignored")):
        sheet[23:40, x : x + 17] = OUTLINE
        sheet[24:39, x + 1 : x + 16] = color
        x = write(sheet, name, (x + 28, 38), 15, INK) + 24
    title = f"{len(chosen)} of {len(pictures):,} pictures, seed {seed}"
    write(sheet, title, (x, 38), 15, FAINT)
    for number, picture in enumerate(chosen):
        left = GAP + number % columns * step_x
        top = TOP + number // columns * step_y
        tile = sheet[top : top + height, left : left + width]
        tile[:] = PANEL
        note = _draw_sample(tile, picture, rng)
        faces = f"{len(picture.boxes)} faces" if len(picture.boxes) != 1 else "1 face"
        ignored = f", {len(picture.ignore)} ignored" if len(picture.ignore) else ""
        about = f"{faces}{ignored}, {picture.width} x {picture.height} px{note}"
        write(sheet, picture.path.name, (left, top + height + 18), 12, INK, width)
        write(sheet, about, (left, top + height + 36), 12, FAINT, width)
    return sheet


def _draw_sample(tile: Image, picture: Sample, rng: np.random.Generator) -> str:
    """Draw a picture, or a part of it, into `tile`; what is to be said of that."""
    try:
        pixels = read_pixels(picture.path)
    except (ValueError, OSError, MemoryError):
        write(tile, "cannot be read", (20, 40), 15, INK)
        return ""
    height, width = pixels.shape[:2]
    factor = min(tile.shape[1] / width, tile.shape[0] / height, 1.5)
    x, y, note = 0.0, 0.0, ""
    sides = longer_side(picture.boxes)
    if len(sides) and np.median(sides) * factor < VISIBLE:
        typical = int(np.argsort(sides, kind="stable")[len(sides) // 2])
        factor = float(np.clip(ENLARGED / max(float(sides[typical]), 1.0), factor, 4.0))
        box = picture.boxes[int(rng.integers(len(sides)))]
        x, y = _window(box, tile.shape[1] / factor, tile.shape[0] / factor, width, height)
        note = f", part at {factor:.1f}x"
    size = (
        min(tile.shape[1], max(1, round((width - x) * factor))),
        min(tile.shape[0], max(1, round((height - y) * factor))),
    )
    zoom = factor
    if factor < 1:
        # An area average first: a warp alone skips pixels.
        small = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
        zoom = 1.0
    # Boxes are measured from the corner of the first pixel, a warp from its middle.
    middle = (zoom - 1) / 2
    shift = np.array([[zoom, 0, middle - x * factor], [0, zoom, middle - y * factor]])
    drawn = cv2.warpAffine(
        pixels, shift, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    left, top = (tile.shape[1] - size[0]) // 2, (tile.shape[0] - size[1]) // 2
    inside = tile[top : top + size[1], left : left + size[0]]
    inside[:] = drawn
    offset = np.array([x, y, x, y], np.float32)
    for color, boxes in ((IGNORED, picture.ignore), (FACE, picture.boxes)):
        _draw_boxes(inside, (boxes - offset) * factor, color)
    return note


def _window(
    box: NDArray[np.float32], width: float, height: float, whole_width: int, whole_height: int
) -> tuple[float, float]:
    """Upper left corner of a window of `width` x `height` px around a box, in the picture."""
    x, y = (float((box[side] + box[side + 2]) / 2) for side in (0, 1))
    return (
        min(max(x - width / 2, 0.0), max(whole_width - width, 0.0)),
        min(max(y - height / 2, 0.0), max(whole_height - height, 0.0)),
    )


def _draw_boxes(canvas: Image, boxes: Boxes, color: Color) -> None:
    """Frames just outside of the boxes, so that what is in them can be seen."""
    # Far outside, whole numbers would overflow; boxes that are not finite are not drawn.
    height, width = canvas.shape[:2]
    shown = boxes[np.isfinite(boxes).all(axis=1)]
    limits = np.array([width, height, width, height], np.float32)
    shown = np.clip(shown, -10, limits + 10)
    corners = np.concatenate([np.floor(shown[:, :2]) - 1, np.ceil(shown[:, 2:])], axis=1)
    for last, line in ((1, OUTLINE), (0, color)):
        for x1, y1, x2, y2 in corners.astype(int).tolist():
            # Twice as thick around a large face.
            for ring in range(last, last + 1 + (max(x2 - x1, y2 - y1) > BROAD)):
                cv2.rectangle(canvas, (x1 - ring, y1 - ring), (x2 + ring, y2 + ring), line)


def draw_histogram(tallies: Sequence[Tally], title: str) -> Image:
    """How many faces are how large: a bar a size, in a colour a source.

    Args:
        tallies: one of each source, as `tally_by_source` gives them.
        title: what stands above.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    first = 0 if any(one.sizes[0] for one in tallies) else 1
    total = np.sum([one.sizes[first:] for one in tallies], axis=0)
    step, bar, room = 90, 62, 320
    named = len(tallies) > 1
    legend = 24 * len(tallies) if named else 0
    canvas = np.full((room + 150 + legend, 60 + step * len(total), 3), PAPER, np.uint8)
    base = room + 70
    write(canvas, title, (30, 36), 17, INK)
    highest = max(int(total.max()), 1)
    for column, (size, count) in enumerate(zip(SIZES[first:], total.tolist(), strict=True)):
        left = 30 + column * step + (step - bar) // 2
        below = 0
        for number, one in enumerate(tallies):
            above = below + int(one.sizes[first + column])
            low, high = (base - round(part / highest * room) for part in (below, above))
            canvas[high:low, left : left + bar] = BARS[number % len(BARS)]
            below = above
        middle = left + bar // 2
        write(canvas, f"{count:,}", (middle, base - round(count / highest * room) - 8), 13, INK, 0)
        write(canvas, size, (middle, base + 22), 13, INK, 0)
    cv2.line(canvas, (30, base), (canvas.shape[1] - 30, base), FAINT, 1)
    write(canvas, "square root of a face's area, px", (30, base + 50), 13, FAINT)
    for number, one in enumerate(tallies if named else ()):
        y = base + 80 + 24 * number
        cv2.rectangle(canvas, (30, y - 12), (44, y + 2), BARS[number % len(BARS)], cv2.FILLED)
        about = f"{one.source or 'no source'}: {one.faces:,} faces in {one.pictures:,} pictures"
        write(canvas, about, (54, y), 13, INK)
    return canvas


def write(
    canvas: Image, text: str, at: tuple[int, int], size: int, color: Color, width: int | None = None
) -> int:
    """Write a line that begins at `at`, on its base line, in letters `size` px high.

    Args:
        canvas: what is written on.
        text: the line; of other letters than ASCII the font has none.
        at: where it begins, px; with a `width` of 0 its middle.
        size: height of the font's digits is 0.75 of it, px.
        color: RGB.
        width: px after which the line is cut off in its middle.

    Returns:
        Where the line ends, px from the left.
    """
    text = text.encode("ascii", "replace").decode()
    scale = 0.75 * size / FONT_HEIGHT * SMOOTH
    weight = max(1, round(scale * 1.7))
    if width:
        while cv2.getTextSize(text, FONT, scale, weight)[0][0] > width * SMOOTH and len(text) > 9:
            text = text[: len(text) // 2 - 2] + "..." + text[len(text) // 2 + 3 :]
    (long, high), low = cv2.getTextSize(text, FONT, scale, weight)
    # Written larger and averaged: the font's own edges are rough.
    wide, tall = -(-long // SMOOTH) + 2, -(-(high + low) // SMOOTH) + 4
    mask = np.zeros((tall * SMOOTH, wide * SMOOTH), np.uint8)
    cv2.putText(mask, text, (0, high + SMOOTH), FONT, scale, 255, weight, cv2.LINE_AA)
    cover = cv2.resize(mask, (wide, tall), interpolation=cv2.INTER_AREA)[..., None] / 255.0
    x = at[0] - wide // 2 if width == 0 else at[0]
    y = at[1] - (high + SMOOTH) // SMOOTH
    x, y = max(x, 0), max(y, 0)
    area = canvas[y : y + tall, x : x + wide]
    cover = cover[: area.shape[0], : area.shape[1]]
    area[:] = np.rint(area * (1 - cover) + np.array(color) * cover)
    return x + wide
