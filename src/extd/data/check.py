"""What is in a data set, and what is probably wrong with it."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, area
from extd.data.pixels import read_pixels
from extd.data.sample import Sample
from extd.files import atomic_write
from extd.prefetch import prefetch

EDGES = (4, 8, 16, 32, 64, 128, 256, 512)
"""Where the classes of face size meet: square root of the area, px."""
SIZES = (
    "no area",
    f"< {EDGES[0]}",
    *(f"{low}-{high}" for low, high in pairwise(EDGES)),
    f">= {EDGES[-1]}",
)
"""Names of those classes, after the class of boxes without area."""


ROUNDING = 0.005
"""Px that a box may reach beyond its picture: numbers with decimals are rounded."""


class Kind(StrEnum):
    """What may be wrong."""

    MISSING = "missing picture"
    UNREADABLE = "unreadable picture"
    NO_SIZE = "picture of unknown size"
    OTHER_SIZE = "picture of another size than its labels say"
    SAME_PATH = "picture listed twice"
    SAME_PIXELS = "same pixels as another picture"
    NO_AREA = "box without area"
    OUTSIDE = "box wholly outside of the picture"
    PARTLY_OUTSIDE = "box partly outside of the picture"
    SAME_BOX = "box given twice"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is probably wrong.

    Attributes:
        kind: what.
        picture: the picture file.
        box: x1, y1, x2, y2 in px, where it is about a box.
        detail: the rest, in words.
    """

    kind: Kind
    picture: Path
    box: tuple[float, float, float, float] | None
    detail: str

    def __str__(self) -> str:
        if self.box is None:
            return f"{self.picture}: {self.detail}"
        corners = ", ".join(_plain(value) for value in self.box)
        return f"{self.picture}: [{corners}], {self.detail}"


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """How much there is.

    Attributes:
        source: the collection, or an empty text for all of them or where there is no name.
        pictures: how many.
        without_faces: how many of the pictures have no face.
        faces: how many.
        ignored: how many regions count neither as face nor as background.
        sizes: how many faces each of `SIZES` has, int64.
    """

    source: str
    pictures: int
    without_faces: int
    faces: int
    ignored: int
    sizes: NDArray[np.int64]


def tally(pictures: Sequence[Sample], source: str = "") -> Tally:
    """Count pictures, faces and ignored regions, and faces by size."""
    boxes = [picture.boxes for picture in pictures]
    faces = np.concatenate([np.empty((0, 4), np.float32), *boxes])
    sides = np.sqrt(np.nan_to_num(area(faces)))
    classes = np.where(sides > 0, np.searchsorted(EDGES, sides, side="right") + 1, 0)
    return Tally(
        source,
        len(pictures),
        sum(len(own) == 0 for own in boxes),
        len(faces),
        sum(len(picture.ignore) for picture in pictures),
        np.bincount(classes, minlength=len(SIZES)),
    )


def tally_by_source(pictures: Iterable[Sample]) -> list[Tally]:
    """A tally of each source, those with the most pictures first."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for picture in pictures:
        groups[picture.source].append(picture)
    tallies = [tally(group, source) for source, group in groups.items()]
    return sorted(tallies, key=lambda one: -one.pictures)


def check_labels(pictures: Iterable[Sample]) -> Iterator[Finding]:
    """What the labels alone tell, picture by picture; no file is opened."""
    listed: set[str] = set()
    for picture in pictures:
        path = os.path.normpath(picture.path)
        if path in listed:
            yield Finding(Kind.SAME_PATH, picture.path, None, "listed before")
        listed.add(path)
        if not picture.width:
            detail = "neither its labels nor its file tell its size"
            yield Finding(Kind.NO_SIZE, picture.path, None, detail)
        yield from _check_boxes(picture)


def _check_boxes(picture: Sample) -> Iterator[Finding]:
    """Faces and ignored regions of one picture."""
    names = [f"face {number}" for number in range(1, len(picture.boxes) + 1)]
    names += [f"ignored {number}" for number in range(1, len(picture.ignore) + 1)]
    boxes = np.concatenate([picture.boxes, picture.ignore])
    # Nothing lies beyond a size that is not known.
    width, height = picture.width or np.inf, picture.height or np.inf
    first: dict[tuple[float, ...], str] = {}
    for name, box, beyond in zip(names, boxes.tolist(), _beyond(boxes, picture), strict=True):
        x1, y1, x2, y2 = box
        # Written so that NaN fails too.
        if not (x2 > x1 and y2 > y1):
            sides = f"{_plain(x2 - x1)} x {_plain(y2 - y1)} px"
            yield Finding(Kind.NO_AREA, picture.path, (x1, y1, x2, y2), f"{name}: {sides}")
        elif beyond:
            outside = x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0
            kind = Kind.OUTSIDE if outside else Kind.PARTLY_OUTSIDE
            size = f"of {picture.width} x {picture.height} px"
            yield Finding(kind, picture.path, (x1, y1, x2, y2), f"{name}: {beyond} {size}")
        if (same := first.setdefault(tuple(box), name)) != name:
            detail = f"{name} is {same} again"
            yield Finding(Kind.SAME_BOX, picture.path, (x1, y1, x2, y2), detail)


def _beyond(boxes: Boxes, picture: Sample) -> list[str]:
    """For each box [N, 4] how far it goes beyond which borders, or an empty text."""
    size = np.array([picture.width or np.inf, picture.height or np.inf], np.float32)
    excess = np.concatenate([-boxes[:, :2], boxes[:, 2:] - size], axis=1)
    borders = ("the left", "the top", "the right", "the bottom")
    return [
        ", ".join(
            f"{_plain(far)} px beyond {border}"
            for far, border in zip(row, borders, strict=True)
            if far > ROUNDING
        )
        for row in excess.tolist()
    ]


def check_files(pictures: Iterable[Sample], threads: int = 0) -> Iterator[list[Finding]]:
    """Decode every picture and tell what is wrong with it: a list a picture, in their order.

    Two pictures are the same when all their pixels are; a copy that was compressed anew is not
    found.
    """
    first: dict[bytes, Path] = {}
    for _, result in prefetch(pictures, _look, threads):
        if isinstance(result, Exception):
            raise result
        picture, findings, digest = result
        if digest is not None:
            same = first.setdefault(digest, picture.path)
            # One file that is listed twice is a finding of the labels.
            if os.path.normpath(same) != os.path.normpath(picture.path):
                detail = f"the same pixels as {same}"
                findings.append(Finding(Kind.SAME_PIXELS, picture.path, None, detail))
        yield findings


def _look(picture: Sample) -> tuple[Sample, list[Finding], bytes | None]:
    """What is wrong with a picture's file, and the digest of its pixels."""
    try:
        pixels = read_pixels(picture.path)
    except FileNotFoundError:
        return picture, [Finding(Kind.MISSING, picture.path, None, "no such file")], None
    except (ValueError, OSError) as error:
        detail = str(error).removeprefix(f"{picture.path} ")
        return picture, [Finding(Kind.UNREADABLE, picture.path, None, detail)], None
    except MemoryError:
        detail = "is too large for the memory of this machine"
        return picture, [Finding(Kind.UNREADABLE, picture.path, None, detail)], None
    height, width = pixels.shape[:2]
    findings = []
    if (width, height) != (picture.width, picture.height):
        detail = f"{width} x {height} px, but labelled {picture.width} x {picture.height}"
        findings.append(Finding(Kind.OTHER_SIZE, picture.path, None, detail))
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return picture, findings, digest.digest()


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write a CSV table: kind, picture, x1, y1, x2, y2, detail."""
    with (
        atomic_write(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["kind", "picture", "x1", "y1", "x2", "y2", "detail"])
        for finding in findings:
            corners = ["", "", "", ""] if finding.box is None else map(_plain, finding.box)
            writer.writerow([finding.kind, finding.picture, *corners, finding.detail])


def _plain(value: float) -> str:
    """A number of pixels with as many decimals as it has, two at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) != float("inf") else str(value)
