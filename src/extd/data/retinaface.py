"""RetinaFace's `label.txt` (arXiv 1905.00641): WIDER FACE with landmarks, in one text file.

    # 0--Parade/a.jpg
    449 330 122 149 488.9 373.6 0.0 542.1 376.4 0.0 515.0 412.8 0.0 485.2 425.9 0.0 538.4 431.5 0.0

A line is x, y, width and height of a face, and x, y and a number that is not read here for the
eyes, nose and corners of the mouth, or -1 for each; a quality may follow. InsightFace's
`labelv2.txt` has the width and height of the image behind its name, and x1, y1, x2, y2.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.data.image_paths import find_folder, find_image
from extd.data.sample import LIMIT, ReadOptions, Sample, are_pixels, read_start, read_text, to_size

NAMES = ("label.txt", "labelv2.txt")
HEAD = re.compile(r"#\s*(\S.*?)(?:\s+(\d+)\s+(\d+))?")
"""The line of an image: its name, and width and height in the second form."""
UNKNOWN = [float("nan")] * 10


def find_retinaface(path: Path) -> Path | None:
    """The text file that a path means: itself, or `label.txt` in a folder."""
    files = [path] if path.is_file() else [path / name for name in NAMES]
    for file in files:
        if file.suffix.lower() == ".txt" and file.is_file() and HEAD.match(read_start(file)):
            return file
    return None


def read_retinaface(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a file; see `datasets.read_dataset`.

    Without `options.images`, the images are in `images` beside the file, or else beside it.
    """
    entries: list[tuple[str, int, int, list[list[float]]]] = []
    rows: list[list[float]] | None = None
    for number, line in enumerate(read_text(path).split("\n"), 1):
        with options.entry(path, f"line {number}"):
            if line.startswith("#"):
                # Faces below a malformed line are nobody's.
                rows = None
                name, width, height = _parse_head(line)
                rows = []
                entries.append((name, width, height, rows))
            elif line.strip():
                if rows is None:
                    raise ValueError("no line of an image, such as '# a.jpg', comes before it")
                rows.append(_parse_face(line, corners=width > 0))
    folders = [path.parent / "images", path.parent]
    images = options.images
    if images is None:
        images = find_folder(path, [entry[0] for entry in entries], folders, path.parent)
    return [
        _sample(find_image(images, name), width, height, own)
        for name, width, height, own in entries
    ]


def _parse_head(line: str) -> tuple[str, int, int]:
    """Name, width and height of an image; 0 x 0 where the line does not give the size."""
    head = HEAD.fullmatch(line.rstrip())
    if head is None:
        raise ValueError(f"{line.strip()!r} does not name an image, as '# a.jpg' does")
    size = (to_size(int(head[2])), to_size(int(head[3]))) if head[2] else (0, 0)
    return head[1], *size


def _parse_face(line: str, *, corners: bool) -> list[float]:
    """The box, x1 to y2, and x and y of the landmarks of a face."""
    numbers = [float(word) for word in line.split()]
    if len(numbers) not in {4, 5, 19, 20} or not are_pixels(numbers, len(numbers)):
        raise ValueError(
            f"{line.strip()!r} is not 4 or 19 numbers below {LIMIT:g} px: a box, and three for "
            "each of five landmarks"
        )
    x, y, right, bottom = numbers[:4]
    box = [x, y, right, bottom] if corners else [x, y, x + right, y + bottom]
    points = [value for start in range(4, 19, 3) for value in numbers[start : start + 2]]
    known = len(points) == 10 and min(points) >= 0
    return [*box, *(points if known else UNKNOWN)]


def _sample(path: Path, width: int, height: int, rows: list[list[float]]) -> Sample:
    values: NDArray[np.float32] = np.array(rows, np.float32).reshape(-1, 14)
    points = None if np.isnan(values[:, 4:]).all() else values[:, 4:]
    return Sample(path, width, height, values[:, :4], values[:0, :4], landmarks=points)
