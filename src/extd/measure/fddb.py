"""The evaluation of FDDB (Jain and Learned-Miller, UM-CS-2010-009, section 6).

Faces are ellipses. In each picture faces and detections are matched one to one, so that the sum of
their IoU is largest. At each threshold a matched detection scores 1 (discrete) where its IoU is
above 0.5, or its IoU (continuous); a detection without a discrete match is a false positive. As in
the benchmark's own program regions are sets of pixels of the picture: ellipses have whole axes,
rectangles whole corners, of which the last ones are inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from extd.images import Image, read_image
from extd.measure.figures import import_figure, save, tidy
from extd.measure.predictions import Prediction

IOU = 0.5
LISTS = "*ellipseList.txt"
"""Names of FDDB's annotation files, as FDDB-fold-01-ellipseList.txt."""
FAR = 1e6
"""Pixels beyond which no ellipse reaches."""
STATED = (10, 100, 500, 1000, 2000)
"""Numbers of false positives at which true positive rates are told."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture's faces.

    Attributes:
        name: as in `2002/07/19/big/img_130`, without `.jpg`.
        ellipses: float64 [G, 5]; radius along the major axis and along the minor one, px, angle of
            the major axis with the horizontal, radians, centre x and y, px.
    """

    name: str
    ellipses: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """True positives against false positives as the threshold falls.

    Attributes:
        images: how many pictures were looked at.
        faces: how many faces they have.
        thresholds: float64 [T], scores, highest first.
        false_positives: int64 [T].
        discrete: float64 [T], true positive rate, 0 to 1, of matches of an IoU above 0.5.
        continuous: float64 [T], likewise, each match counted by its IoU.
    """

    images: int
    faces: int
    thresholds: Matrix
    false_positives: NDArray[np.int64]
    discrete: Matrix
    continuous: Matrix

    def rates(self, false_positives: int) -> tuple[float, float]:
        """Best discrete and continuous rate with at most so many false positives."""
        allowed = self.false_positives <= false_positives
        return (
            float(self.discrete[allowed].max(initial=0.0)),
            float(self.continuous[allowed].max(initial=0.0)),
        )


def read_annotations(folder: Path) -> list[Picture]:
    """The pictures of all `FDDB-fold-XX-ellipseList.txt` in a folder, in their order.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: a file is not in the format, or a picture is listed twice; the message gives
            file and line.
    """
    paths = sorted(folder.glob(LISTS))
    if not paths:
        raise FileNotFoundError(
            f"there are no annotations in {folder}; they are expected as "
            f"{folder}/FDDB-fold-01-ellipseList.txt and so on"
        )
    pictures: dict[str, Picture] = {}
    for path in paths:
        for picture in _read_list(path):
            if picture.name in pictures:
                raise ValueError(f"{path} lists {picture.name} again")
            pictures[picture.name] = picture
    return list(pictures.values())


def _read_list(path: Path) -> list[Picture]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error
    pictures = []
    number = 0
    while number < len(lines):
        name = lines[number].strip()
        number += 1
        if not name:
            continue
        count = lines[number].strip() if number < len(lines) else ""
        if not count.isdecimal():
            raise ValueError(
                f"{path}, line {number + 1}: expected the number of faces, not {count!r}"
            )
        number += 1
        rows = []
        for _ in range(int(count)):
            line = lines[number] if number < len(lines) else ""
            rows.append(_ellipse(line, f"{path}, line {number + 1}"))
            number += 1
        pictures.append(Picture(name.removesuffix(".jpg"), np.reshape(np.array(rows), (-1, 5))))
    return pictures


def _ellipse(line: str, where: str) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    if len(values) not in (5, 6) or not all(abs(v) < FAR for v in values) or min(values[:2]) <= 0:
        raise ValueError(
            f"{where}: expected major radius, minor radius, angle, centre x, centre y, 1, "
            f"not {line.strip()!r}"
        )
    return values[:5]


def evaluate_fddb(
    detect: Callable[[Image], Prediction],
    images: Path,
    pictures: Sequence[Picture],
    progress: Callable[[Sequence[Picture]], Iterable[Picture]] = iter,
) -> Roc:
    """Detect in every picture and compare with its ellipses, all folds together.

    Args:
        detect: a protocol with its detector, as in `partial(single, Detector())`.
        images: folder of the pictures, which are NAME.jpg in it.
        pictures: with at least one face among them.
        progress: wraps the pictures as they are worked through, to show a bar.

    Raises:
        FileNotFoundError: a picture is missing.
        ImportError: SciPy is missing.
        ValueError: a picture is broken, or none has a face.
    """
    faces = sum(len(picture.ellipses) for picture in pictures)
    if not faces:
        raise ValueError("no picture has an annotated face; there is nothing to measure")
    steps = [np.zeros((0, 4))]
    for picture in progress(pictures):
        image = read_image(images / f"{picture.name}.jpg")
        found = detect(image)
        height, width = image.shape[:2]
        overlaps = region_overlaps(picture.ellipses, found.boxes, width, height)
        steps.append(score_changes(overlaps, found.scores))
    return _roc(len(pictures), faces, np.concatenate(steps))


def region_overlaps(ellipses: Matrix, boxes: Matrix, width: int, height: int) -> Matrix:
    """IoU of ellipses with rectangles, as sets of pixels of a picture of `width` x `height` px.

    Args:
        ellipses: [G, 5], as in `Picture`.
        boxes: [N, 4]; x, y, width, height, px.
        width: of the picture.
        height: of the picture.

    Returns:
        float64 [G, N].
    """
    corners = np.rint(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)).astype(int)
    corners[:, 2:] += 1
    corners = corners.clip(0, [width, height] * 2)
    areas = (corners[:, 2:] - corners[:, :2]).prod(1)
    overlaps = np.zeros((len(ellipses), len(boxes)))
    for row, (major, minor, angle, x, y) in zip(overlaps, ellipses.tolist(), strict=True):
        mask = np.zeros((height, width), np.uint8)
        centre, axes = (round(x), round(y)), (int(major), int(minor))
        cv2.ellipse(mask, centre, axes, math.degrees(angle), 0, 360, 1, cv2.FILLED)
        # Sums over any rectangle are differences of this table's corners.
        table = cv2.integral(mask)
        x1, y1, x2, y2 = corners.T
        shared = table[y2, x2] - table[y1, x2] - table[y2, x1] + table[y1, x1]
        union = areas + int(table[-1, -1]) - shared
        row[:] = shared / np.maximum(union, 1)
    return overlaps


def score_changes(overlaps: Matrix, scores: Matrix) -> Matrix:
    """How the sums of one picture change as the threshold falls.

    Args:
        overlaps: [G, N], IoU of faces and detections.
        scores: [N], of the detections.

    Returns:
        float64 [K, 4]: threshold, and changes of the continuous sum, of the discrete sum and of
        the false positives there.

    Raises:
        ImportError: SciPy is missing.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError('FDDB needs SciPy; run: pip install "extd[eval]"') from error
    touching = (overlaps > 0).any(axis=0)
    alone = scores[~touching]
    changes = [np.column_stack([alone, np.zeros((len(alone), 2)), np.ones(len(alone))])]
    near, own = overlaps[:, touching], scores[touching]
    before = np.zeros(3)
    for threshold in -np.unique(-own):
        valid = near[:, own >= threshold]
        matched = valid[linear_sum_assignment(valid, maximize=True)]
        hits = int((matched > IOU).sum())
        after = np.array([matched.sum(), hits, valid.shape[1] - hits])
        changes.append(np.concatenate([[threshold], after - before])[None])
        before = after
    return np.concatenate(changes)


def _roc(images: int, faces: int, changes: Matrix) -> Roc:
    """The curve from the changes of all pictures."""
    changes = changes[np.argsort(-changes[:, 0], kind="stable")]
    sums = np.cumsum(changes[:, 1:], axis=0)
    # Of equal thresholds the last has all their changes.
    last = np.append(np.diff(changes[:, 0]) != 0, True)[: len(changes)]
    continuous, discrete, false = sums[last].T
    return Roc(
        images,
        faces,
        changes[last, 0],
        np.rint(false).astype(np.int64),
        discrete / faces,
        continuous / faces,
    )


def report(roc: Roc, model: str, protocol: str) -> dict[str, object]:
    """The curve for JSON: images, model, protocol, faces, and rates at numbers of false positives.

    Rates are rounded to five decimals, 0 to 1.
    """
    rates = {str(number): roc.rates(number) for number in STATED}
    return {
        "images": roc.images,
        "model": model,
        "protocol": protocol,
        "faces": roc.faces,
        "discrete": {number: round(discrete, 5) for number, (discrete, _) in rates.items()},
        "continuous": {number: round(soft, 5) for number, (_, soft) in rates.items()},
    }


def roc_rows(roc: Roc) -> list[dict[str, object]]:
    """The curve for a CSV file."""
    columns = (roc.thresholds, roc.false_positives, roc.discrete, roc.continuous)
    return [
        {
            "threshold": round(threshold, 6),
            "false_positives": false,
            "discrete": round(discrete, 6),
            "continuous": round(continuous, 6),
        }
        for threshold, false, discrete, continuous in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]


def plot_roc(roc: Roc, caption: str, path: Path) -> None:
    """Draw both true positive rates against false positives, up to the last of `STATED`.

    Args:
        roc: the curve.
        caption: what was measured.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = import_figure()(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    for name, rates in (("discrete", roc.discrete), ("continuous", roc.continuous)):
        axis.plot(roc.false_positives, rates, label=name)
    axis.set(xlabel="false positives", ylabel="true positive rate", ylim=(0, 1.01))
    axis.set_xlim(0, min(STATED[-1], max(int(roc.false_positives.max(initial=1)), 1)))
    axis.legend(loc="lower right", frameon=False)
    tidy(axis)
    figure.suptitle(caption, fontsize=9, color="0.35")
    save(figure, path)
