"""A contact sheet of a dataset: samples with their boxes, the suspicious ones first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from extd.boxes import Boxes, longer_side
from extd.data.check import Finding
from extd.data.sample import Sample
from extd.images import read_image
from extd.pixels import Image

Color = tuple[int, int, int]
PAPER, PANEL, INK, FAINT = (255, 255, 255), (236, 237, 240), (30, 34, 42), (120, 126, 138)
FACE, IGNORED, SUSPICIOUS, OUTLINE = (70, 255, 110), (255, 150, 40), (255, 60, 60), (0, 0, 0)

TILE = (400, 300)
"""Width and height of a sample, px."""
CAPTION, GAP = 44, 16
"""Height of the lines below a sample, and space between samples, px."""
COLUMNS, TOP = 4, 60
"""Samples beside each other, and height above them, px."""
MOST_SAMPLES = (65_500 - TOP) // (TILE[1] + CAPTION + GAP) * COLUMNS
"""JPEG holds no sheet of more: libjpeg writes 65,500 px a side."""
SMALL = 12
"""Px below which a face on the sheet is too small to judge its box: a part is shown instead."""
ENLARGED = 28
"""Longer side, px, that such a face gets in the part."""
BROAD = 60
"""Px from which a box on the sheet has a thicker frame."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Boxes that are framed in a color, by the image; `name` is for the legend."""

    name: str
    color: Color
    boxes: Mapping[Path, Boxes]


def choose_samples(
    samples: Sequence[Sample], count: int, seed: int, suspicious: Iterable[Path] = ()
) -> list[Sample]:
    """`count` samples at random, as evenly from the sources as possible, in the set's order.

    Up to half of them are of the `suspicious` images.
    """
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    wanted = frozenset(suspicious)
    suspects = [index for index in order if samples[index].path in wanted]
    first = set(suspects[: -(-count // 2)])
    groups: dict[str, list[int]] = defaultdict(list)
    for index in order:
        if index not in first:
            groups[samples[index].source].append(index)
    # One of each source in turn.
    turns = sorted((turn, own[turn]) for own in groups.values() for turn in range(len(own)))
    rest = [index for _, index in turns[: count - len(first)]]
    return [samples[index] for index in sorted([*first, *rest])]


def draw_contact_sheet(
    samples: Sequence[Sample], findings: Iterable[Finding] = (), count: int = 24, seed: int = 0
) -> Image:
    """At most `count` samples of a dataset with the boxes of faces and of ignored regions.

    Up to half of them have a box with a finding, as of `check_labels`, which is framed in its own
    color. An image whose faces would be too small to see is shown in part, around one of them. One
    that cannot be read leaves its place empty. Equal seeds choose equal samples.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}; give 1 or more")
    suspicious: dict[Path, list[tuple[float, ...]]] = defaultdict(list)
    for finding in findings:
        if finding.box is not None:
            suspicious[finding.image].append(finding.box)
    chosen = choose_samples(samples, count, seed, suspicious)
    wrong = {path: np.array(boxes, np.float32) for path, boxes in suspicious.items()}
    title = f"{len(chosen)} of {len(samples):,} images, seed {seed}"
    return draw_samples(chosen, [Marks("suspicious", SUSPICIOUS, wrong)], title, seed)


def draw_samples(
    chosen: Sequence[Sample], marks: Sequence[Marks], title: str, seed: int = 0
) -> Image:
    """The sheet of these samples, with the boxes of their labels and those of `marks`.

    Where only a part of an image is shown, it has a marked box if there is one, chosen by `seed`.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    rng = np.random.default_rng(seed)
    # Fewer columns would have no room for the title.
    columns = min(COLUMNS, max(len(chosen), 2))
    rows = -(-len(chosen) // columns)
    width, height = TILE
    size = (GAP + columns * (width + GAP), TOP + rows * (height + CAPTION + GAP))
    sheet = Pillow.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    x = GAP
    legend = [(FACE, "face"), (IGNORED, "ignored"), *((one.color, one.name) for one in marks)]
    for color, name in legend:
        draw.rectangle((x, 23, x + 16, 39), color, OUTLINE)
        x = _write(draw, name, (x + 24, 38), 15, INK) + 20
    _write(draw, title, (x, 38), 15, FAINT, size[0] - x)
    for number, sample in enumerate(chosen):
        row, column = divmod(number, columns)
        left, top = GAP + column * (width + GAP), TOP + row * (height + CAPTION + GAP)
        tile, note = _draw_sample(sample, marks, rng)
        sheet.paste(tile, (left, top))
        faces = f"{len(sample.boxes)} faces" if len(sample.boxes) != 1 else "1 face"
        ignored = f", {len(sample.ignore)} ignored" if len(sample.ignore) else ""
        about = f"{faces}{ignored}, {sample.width} x {sample.height} px{note}"
        _write(draw, sample.path.name, (left, top + height + 18), 12, INK, width)
        _write(draw, about, (left, top + height + 36), 12, FAINT, width)
    return np.array(sheet)


def _draw_sample(
    sample: Sample, marks: Sequence[Marks], rng: np.random.Generator
) -> tuple[Pillow.Image, str]:
    """A tile with the image or a part of it, and a note about that."""
    marked = [
        (one.color, one.boxes.get(sample.path, np.empty((0, 4), np.float32))) for one in marks
    ]
    tile = Pillow.new("RGB", TILE, PANEL)
    try:
        image = Pillow.fromarray(read_image(sample.path))
    except (ValueError, OSError):
        _write(ImageDraw.Draw(tile), "cannot be read", (20, 40), 15, INK)
        return tile, ""
    whole = np.array(image.size, float)
    center, scale, note = whole / 2, min(*(TILE / whole), 1.5), ""
    sides = np.sort(longer_side(sample.boxes))
    if len(sides) and np.median(sides) * scale < SMALL:
        typical = max(float(sides[len(sides) // 2]), 1.0)
        scale = min(max(ENLARGED / typical, scale), 4.0)
        wrong = np.concatenate([np.empty((0, 4), np.float32), *(boxes for _, boxes in marked)])
        box = rng.choice(wrong if len(wrong) else sample.boxes)
        center = np.nan_to_num(box[:2] + box[2:], posinf=1e9, neginf=-1e9) / 2
        note = f", part at {scale:.1f}x"
    view = np.minimum(np.divide(TILE, scale), whole)
    near = np.clip(center - view / 2, 0, whole - view)
    right, bottom = np.minimum(near + view, whole).tolist()
    width, height = np.maximum(np.rint(view * scale), 1).astype(int).tolist()
    part = image.resize(
        (width, height), Pillow.Resampling.BILINEAR, (*near.tolist(), right, bottom)
    )
    offset = np.tile(near, 2).astype(np.float32)
    for color, boxes in ((IGNORED, sample.ignore), (FACE, sample.boxes), *marked):
        _draw_boxes(part, (boxes - offset) * np.float32(scale), color)
    tile.paste(part, ((TILE[0] - width) // 2, (TILE[1] - height) // 2))
    return tile, note


def _draw_boxes(image: Pillow.Image, boxes: Boxes, color: Color) -> None:
    """Frames just outside the boxes, so that what is in them can be seen."""
    draw = ImageDraw.Draw(image)
    # A box that is not finite has no place.
    shown = boxes[np.isfinite(boxes).all(axis=1)].clip(-10, max(TILE) + 10)
    # Nor has one without area, except as the line or point that it is.
    near, far = np.floor(shown[:, :2]), np.ceil(np.maximum(shown[:, 2:], shown[:, :2]))
    corners = np.concatenate([near, far], axis=1).astype(int).tolist()
    for extra, line in ((1, OUTLINE), (0, color)):
        for x1, y1, x2, y2 in corners:
            ring = extra + (2 if max(x2 - x1, y2 - y1) > BROAD else 1)
            draw.rectangle((x1 - ring, y1 - ring, x2 + ring - 1, y2 + ring - 1), None, line, ring)


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    at: tuple[int, int],
    size: int,
    color: Color,
    width: float = np.inf,
) -> int:
    """Write a line that begins at `at`, on its baseline, and tell where it ends, px from the left.

    What is longer than `width` px loses its middle.
    """
    font = ImageFont.load_default(size)
    # The font has few other letters, and file names need not be UTF-8.
    text = text.encode("ascii", "replace").decode()
    while font.getlength(text) > width and len(text) > 9:
        text = text[: len(text) // 2 - 2] + "..." + text[len(text) // 2 + 3 :]
    draw.text(at, text, color, font, anchor="ls")
    return at[0] + round(font.getlength(text))
