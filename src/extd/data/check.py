"""What is in a dataset, and what is probably wrong with it."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.boxes import area
from extd.data.sample import Sample, write_text
from extd.files import real_path
from extd.images import read_image
from extd.prefetch import cores, prefetch

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

    MISSING = "missing image"
    UNREADABLE = "unreadable image"
    NO_SIZE = "image of unknown size"
    OTHER_SIZE = "image of another size than its labels say"
    SAME_PATH = "image listed twice"
    SAME_PIXELS = "same pixels as another image"
    NO_AREA = "box without area"
    OUTSIDE = "box wholly outside the image"
    PARTLY_OUTSIDE = "box partly outside the image"
    SAME_BOX = "box given twice"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is probably wrong.

    Attributes:
        kind: what.
        image: the image file.
        box: x1, y1, x2, y2 in px, where it is about a box.
        detail: the rest, in words.
    """

    kind: Kind
    image: Path
    box: tuple[float, float, float, float] | None
    detail: str

    def __str__(self) -> str:
        if self.box is None:
            return f"{self.image}: {self.detail}"
        corners = ", ".join(_plain(value) for value in self.box)
        return f"{self.image}: [{corners}], {self.detail}"


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """How much there is.

    Attributes:
        source: the collection, or empty for all of them or where there is no name.
        images: how many.
        without_faces: how many of the images have no face.
        faces: how many.
        ignored: how many regions count neither as face nor as background.
        sizes: how many faces are in each of `SIZE_BINS`, int64.
    """

    source: str
    images: int
    without_faces: int
    faces: int
    ignored: int
    sizes: NDArray[np.int64]


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
            yield Finding(Kind.SAME_PATH, sample.path, None, "listed before")
        listed.add(path)
        if not sample.width:
            detail = "neither its labels nor its file give its size"
            yield Finding(Kind.NO_SIZE, sample.path, None, detail)
        yield from _check_boxes(sample)


def _check_boxes(sample: Sample) -> Iterator[Finding]:
    """Faces and ignored regions of one sample."""
    names = [f"face {number}" for number in range(1, len(sample.boxes) + 1)]
    names += [f"ignored {number}" for number in range(1, len(sample.ignore) + 1)]
    boxes = np.concatenate([sample.boxes, sample.ignore])
    # Nothing lies beyond a size that is unknown.
    width, height = sample.width or np.inf, sample.height or np.inf
    first: dict[tuple[float, ...], str] = {}
    for name, box in zip(names, boxes.tolist(), strict=True):
        x1, y1, x2, y2 = box
        # Written so that NaN fails too.
        if not (x2 > x1 and y2 > y1):
            sides = f"{_plain(x2 - x1)} x {_plain(y2 - y1)} px"
            yield Finding(Kind.NO_AREA, sample.path, (x1, y1, x2, y2), f"{name}: {sides}")
        elif max(-x1, -y1, x2 - width, y2 - height) > ROUNDING:
            outside = x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0
            kind = Kind.OUTSIDE if outside else Kind.PARTLY_OUTSIDE
            detail = f"{name} in {sample.width} x {sample.height} px"
            yield Finding(kind, sample.path, (x1, y1, x2, y2), detail)
        if (same := first.setdefault(tuple(box), name)) != name:
            detail = f"{name} is {same} again"
            yield Finding(Kind.SAME_BOX, sample.path, (x1, y1, x2, y2), detail)


def check_output(out: Path, path: Path, samples: Iterable[Sample]) -> None:
    """Refuse a folder for findings if they would become images of the set or replace its labels.

    Args:
        out: the folder for `FINDINGS` and images.
        path: the label file or folder of the set.
        samples: the set.

    Raises:
        ValueError: the message names the folder.
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

    Two images are the same when all their pixels are; a copy that was compressed again is not
    found.

    Args:
        samples: the labeled images.
        threads: how many images are decoded at once; 0 for one a core.
    """
    first: dict[bytes, Path] = {}
    for sample, result in prefetch(samples, _size_and_digest, threads or cores()):
        findings = []
        if isinstance(result, FileNotFoundError):
            findings.append(Finding(Kind.MISSING, sample.path, None, "no such file"))
        elif isinstance(result, Exception):
            detail = str(result).removeprefix(f"{sample.path} ")
            findings.append(Finding(Kind.UNREADABLE, sample.path, None, detail))
        else:
            width, height, digest = result
            if (width, height) != (sample.width, sample.height):
                detail = f"{width} x {height} px, but labeled {sample.width} x {sample.height}"
                findings.append(Finding(Kind.OTHER_SIZE, sample.path, None, detail))
            same = first.setdefault(digest, sample.path)
            # One file that is listed twice is a finding of the labels.
            if os.path.normpath(same) != os.path.normpath(sample.path):
                detail = f"the same pixels as {same}"
                findings.append(Finding(Kind.SAME_PIXELS, sample.path, None, detail))
        yield findings


def _size_and_digest(sample: Sample) -> tuple[int, int, bytes]:
    try:
        pixels = read_image(sample.path)
    except MemoryError as error:
        raise ValueError("is too large for the memory of this machine") from error
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return width, height, digest.digest()


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write a CSV table: kind, image, x1, y1, x2, y2, detail."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "image", "x1", "y1", "x2", "y2", "detail"])
    for finding in findings:
        corners = ["", "", "", ""] if finding.box is None else map(_plain, finding.box)
        writer.writerow([finding.kind, finding.image, *corners, finding.detail])
    write_text(path, text.getvalue())


def _plain(value: float) -> str:
    """A number of pixels with as many decimals as it has, two at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) != float("inf") else str(value)
