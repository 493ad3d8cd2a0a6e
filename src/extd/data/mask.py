"""COCO's run lengths of a mask (RLE): its bounds, without drawing it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from extd.data.sample import LIMIT, to_size


def mask_bounds(counts: str | Sequence[int], height: object, width: object) -> list[float]:
    """x, y, width and height in px of the mask, whose pixels run down the columns.

    Args:
        counts: lengths of the runs outside and inside in turn, or their compressed form.
        height: of the image.
        width: of the image.

    Raises:
        ValueError: the mask is empty, or is no mask of this size.
    """
    rows, columns = to_size(height), to_size(width)
    runs = np.array(_decompress(counts) if isinstance(counts, str) else counts, np.int64)
    ends = runs.cumsum()
    inside = (np.arange(len(runs)) % 2 == 1) & (runs > 0)
    first, last = (ends - runs)[inside], ends[inside] - 1
    if (runs < 0).any() or len(last) == 0 or last[-1] >= rows * columns:
        raise ValueError(f"its mask is empty, or not of {columns} x {rows} px")
    x1, x2 = first[0] // rows, last[-1] // rows + 1
    # A run that goes on in the next column has been to the lower border and the upper one.
    whole = bool((first // rows != last // rows).any())
    y1, y2 = (0, rows) if whole else ((first % rows).min(), (last % rows).max() + 1)
    return [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]


def _decompress(text: str) -> list[int]:
    """Numbers of five bits a character, each but the first three relative to the last but one."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        value += (code & 31) << shift
        shift += 5
        if not 0 <= code < 64 or value > LIMIT:
            raise ValueError("the counts of its mask are not compressed run lengths")
        if not code & 32:
            value -= 1 << shift if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
