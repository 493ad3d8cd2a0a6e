"""What is in a dataset, and what is probably wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.boxes import area
from extd.data.near_duplicates import BITS, find_near_duplicates
from extd.data.sample import Sample, plain, write_table
from extd.files import real_path
from extd.images import read_image
from extd.prefetch import prefetch

FINDINGS = "findings.csv"
"""Name of the file of findings."""
EDGES = (4, 8, 16, 32, 64, 128, 256, 512)
"""Edges of the bins of face size, the square root of the area in px."""
SIZE_BINS = (
    "no area",
    f"< {EDGES[0]}",
    *(f"{low}-{high}" for low, high in pairwise(EDGES)),
    f">= {EDGES[-1]}",
)
"""Names of those bins, after that of boxes without area."""
ROUNDING = 0.005
"""Px that a box may reach beyond its image, for labels with decimals are rounded."""


class Kind(StrEnum):
    """What may be wrong."""

    LEFT_OUT = "malformed entry, left out"
    MISSING = "missing image"
    UNREADABLE = "unreadable image"
    NO_SIZE = "image of unknown size"
    OTHER_SIZE = "image of another size than its labels say"
    SAME_PATH = "image listed twice"
    SAME_PIXELS = "same pixels as another image"
    NEAR_DUPLICATE = "near-duplicate of another image"
    SHARED = "image that the other set has, too"
    NO_AREA = "box without area"
    OUTSIDE = "box wholly outside the image"
    PARTLY_OUTSIDE = "box partly outside the image"
    SAME_BOX = "box given twice"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is probably wrong with an image, or with one of its boxes (xyxy, px).

    For an entry that was left out, `image` is the label file.
    """

    kind: Kind
    image: Path
    detail: str
    box: tuple[float, float, float, float] | None = None

    def __str__(self) -> str:
        box = "" if self.box is None else f"[{', '.join(map(_shown, self.box))}], "
        return f"{self.image}: {box}{self.detail}"


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """How much there is."""

    source: str  # the collection; empty for all of them, or without a name
    images: int
    without_faces: int  # how many of the images have no face
    faces: int
    ignored: int  # how many regions count neither as face nor as background
    sizes: NDArray[np.int64]  # how many faces are in each of `SIZE_BINS`


def summarize(samples: Sequence[Sample], source: str = "") -> Summary:
    """Count images, ignored regions, and faces by size."""
    faces = np.concatenate([np.empty((0, 4), np.float32), *(sample.boxes for sample in samples)])
    sides = np.sqrt(np.nan_to_num(area(faces)))
    bins = np.where(sides > 0, np.searchsorted(EDGES, sides, side="right") + 1, 0)
    return Summary(
        source,
        len(samples),
        sum(len(sample.boxes) == 0 for sample in samples),
        len(faces),
        sum(len(sample.ignore) for sample in samples),
        np.bincount(bins, minlength=len(SIZE_BINS)),
    )


def summarize_sources(samples: Iterable[Sample]) -> list[Summary]:
    """A summary of each source, those with the most images first."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.source].append(sample)
    summaries = [summarize(group, source) for source, group in groups.items()]
    return sorted(summaries, key=lambda one: -one.images)


def check_labels(samples: Iterable[Sample]) -> Iterator[Finding]:
    """What the labels alone tell, sample by sample; no file is opened."""
    listed: set[str] = set()
    for sample in samples:
        path = os.path.normpath(sample.path)
        if path in listed:
            yield Finding(Kind.SAME_PATH, sample.path, "listed before")
        listed.add(path)
        if not sample.width:
            detail = "neither its labels nor its file give its size"
            yield Finding(Kind.NO_SIZE, sample.path, detail)
        yield from _check_boxes(sample)


def _check_boxes(sample: Sample) -> Iterator[Finding]:
    """Faces and ignored regions of one sample."""
    # Nothing lies beyond a size that is unknown.
    width, height = sample.width or np.inf, sample.height or np.inf
    first: dict[tuple[float, ...], str] = {}
    for index, row in enumerate([*sample.boxes.tolist(), *sample.ignore.tolist()]):
        faces = len(sample.boxes)
        name = f"face {index + 1}" if index < faces else f"ignored {index - faces + 1}"
        x1, y1, x2, y2 = box = tuple(row)
        # Written so that NaN fails too.
        if not (x2 > x1 and y2 > y1):
            detail = f"{name}: {_shown(x2 - x1)} x {_shown(y2 - y1)} px"
            yield Finding(Kind.NO_AREA, sample.path, detail, box)
        elif max(-x1, -y1, x2 - width, y2 - height) > ROUNDING:
            outside = x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0
            kind = Kind.OUTSIDE if outside else Kind.PARTLY_OUTSIDE
            detail = f"{name} in {sample.width} x {sample.height} px"
            yield Finding(kind, sample.path, detail, box)
        if (same := first.setdefault(box, name)) != name:
            yield Finding(Kind.SAME_BOX, sample.path, f"{name} is {same} again", box)


def check_output(out: Path, path: Path, samples: Iterable[Sample]) -> None:
    """Refuse a folder `out` for findings that holds the images of a set or its labels in `path`.

    Raises:
        ValueError: findings would become images of the set, or replace its labels.
    """
    target = real_path(out)
    for folder in {sample.path.parent for sample in samples}:
        if real_path(folder) in {target, *target.parents}:
            raise ValueError(
                f"{out} is among the images of the dataset, in {folder}; give a folder elsewhere"
            )
    if real_path(path) == target / FINDINGS:
        raise ValueError(f"{out / FINDINGS} would replace the labels; give another folder")


def check_files(samples: Iterable[Sample], threads: int = 0) -> Iterator[list[Finding]]:
    """Decode every image and tell what is wrong with it: a list an image, in their order.

    Two images are the same when all their pixels are; `check_copies` finds others.
    `threads` images are decoded at once; 0 means one a core.
    """
    first: dict[bytes, Path] = {}
    for sample, result in prefetch(samples, _size_and_digest, threads):
        found: list[tuple[Kind, str]] = []
        if isinstance(result, FileNotFoundError):
            found.append((Kind.MISSING, "no such file"))
        elif isinstance(result, Exception):
            found.append((Kind.UNREADABLE, str(result).removeprefix(f"{sample.path} ")))
        else:
            width, height, digest = result
            if (width, height) != (sample.width, sample.height):
                detail = f"{width} x {height} px, but labeled {sample.width} x {sample.height}"
                found.append((Kind.OTHER_SIZE, detail))
            same = first.setdefault(digest, sample.path)
            # One file that is listed twice is a finding of the labels.
            if os.path.normpath(same) != os.path.normpath(sample.path):
                found.append((Kind.SAME_PIXELS, f"the same pixels as {same}"))
        yield [Finding(kind, sample.path, detail) for kind, detail in found]


def check_copies(
    samples: Sequence[Sample],
    others: Sequence[Sample] | None,
    threads: int,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Iterator[Finding]:
    """Near-duplicates within a set, or images that it shares with another; see `near_duplicates`.

    Raises:
        ImportError: the package imagehash is missing.
    """
    images = [Path(os.path.normpath(sample.path)) for sample in samples]
    kind, more = Kind.NEAR_DUPLICATE, None
    if others is not None:
        kind, more = Kind.SHARED, [Path(os.path.normpath(sample.path)) for sample in others]
    for pair in find_near_duplicates(images, more, threads, progress):
        detail = f"like {pair.first}, {pair.distance} of {BITS} bits of their hashes differ"
        yield Finding(kind, pair.second, detail)


def _size_and_digest(sample: Sample) -> tuple[int, int, bytes]:
    pixels = read_image(sample.path)
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.data)
    return width, height, digest.digest()


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write a CSV table: kind, image, x1, y1, x2, y2, detail."""
    rows = [["kind", "image", "x1", "y1", "x2", "y2", "detail"]]
    for finding in findings:
        corners = [""] * 4 if finding.box is None else map(_shown, finding.box)
        rows.append([finding.kind, str(finding.image), *corners, finding.detail])
    write_table(path, rows)


def _shown(value: float) -> str:
    return plain(round(value, 2))
