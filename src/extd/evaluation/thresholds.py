"""Precision and recall against the threshold, and the threshold that reaches a given one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from extd.data.sample import Sample, write_table
from extd.evaluation.labeled import ground_truth, without_ignored
from extd.evaluation.predictions import Prediction
from extd.evaluation.protocols import LOWEST
from extd.evaluation.wider import match
from extd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = np.arange(2, 100) / 100
"""Thresholds that are written; detectors are measured from the first one on."""
CONFIDENCE = 1.96
"""Standard deviations of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a detector does at a threshold."""

    threshold: float  # detections with higher scores count
    hits: int  # faces found
    detections: int  # how many there are, without those of ignored regions
    faces: int  # how many there are to find

    @property
    def precision(self) -> float:
        """Faces found over detections; nan without detections."""
        return self.hits / self.detections if self.detections else math.nan

    @property
    def recall(self) -> float:
        """Faces found over faces; nan without faces."""
        return self.hits / self.faces if self.faces else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdCurve:
    """What a detector does at every threshold."""

    scores: NDArray[np.float64]  # [N], of detections that count, each once, highest first
    hits: NDArray[np.int64]  # faces found by detections with that score or a higher one
    detections: NDArray[np.int64]  # how many detections those are
    faces: int  # how many there are to find

    def at(self, threshold: float) -> OperatingPoint:
        """What the detector does at a threshold."""
        index = int(np.searchsorted(-self.scores, -threshold)) - 1
        if index < 0:
            return OperatingPoint(threshold, 0, 0, self.faces)
        hits, detections = int(self.hits[index]), int(self.detections[index])
        return OperatingPoint(threshold, hits, detections, self.faces)

    def at_precision(self, least: float) -> OperatingPoint | None:
        """The lowest threshold with at least this precision; None if there is none."""
        good = np.flatnonzero(self.hits >= least * self.detections)
        return self._just_below(int(good[-1])) if len(good) else None

    def at_recall(self, least: float) -> OperatingPoint | None:
        """The highest threshold with at least this recall; None if there is none."""
        good = np.flatnonzero(self.hits >= least * self.faces)
        return self._just_below(int(good[0])) if len(good) else None

    def _just_below(self, index: int) -> OperatingPoint:
        """A threshold of few digits between a score and the next lower one."""
        high = float(self.scores[index])
        # Below the last score nothing was measured.
        floor = LOWEST if high > LOWEST else 0.0
        low = float(self.scores[index + 1]) if index + 1 < len(self.scores) else floor
        rounded = [round((low + high) / 2, digits) for digits in range(1, 7)]
        return self.at(next((one for one in rounded if low <= one < high), low))


def threshold_curve(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> ThresholdCurve:
    """Match the detections in each image with its faces at IoU 0.5, as `evaluate_labeled` does."""
    scores, hits, counted = [np.empty(0)], [np.empty(0, np.bool_)], [np.empty(0, np.bool_)]
    for sample, every in zip(samples, predictions, strict=True):
        found = without_ignored(every, sample)
        if len(found):
            order = np.argsort(-found.scores, kind="stable")
            hit, counts = match(found.boxes[order], ground_truth(sample))
            scores.append(found.scores[order])
            hits.append(hit[0])
            counted.append(counts[0])
    chosen = np.concatenate(counted)
    score, hit = np.concatenate(scores)[chosen], np.concatenate(hits)[chosen]
    order = np.argsort(-score, kind="stable")
    score = score[order]
    # Detections of one score pass a threshold together.
    last = np.flatnonzero(np.diff(score, append=-np.inf))
    faces = sum(len(sample.boxes) for sample in samples)
    return ThresholdCurve(score[last], np.cumsum(hit[order])[last], last + 1, faces)


def interval(hits: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; faces of one image are taken for independent."""
    if not total:
        return 0.0, 1.0
    share, spread = hits / total, CONFIDENCE**2 / total
    center = share + spread / 2
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = (center - half) / (1 + spread), (center + half) / (1 + spread)
    return max(low, 0.0), min(high, 1.0)


def write_curve(
    folder: Path, curve: ThresholdCurve, chosen: Mapping[str, OperatingPoint | None]
) -> list[Path]:
    """Write thresholds.csv and thresholds.png to a folder, with `chosen` thresholds marked.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = _draw(curve, chosen)
    table, plot = folder / "thresholds.csv", folder / "thresholds.png"
    rows: list[list[object]]
    rows = [["threshold", "precision", "recall", "hits", "detections", "faces"]]
    for point in map(curve.at, GRID.tolist()):
        shares = (f"{share:.4f}" for share in (point.precision, point.recall))
        rows.append([point.threshold, *shares, point.hits, point.detections, point.faces])
    write_table(table, rows)
    with atomic_write(plot) as partial:
        figure.savefig(partial, format="png", dpi=120)
    return [table, plot]


def _draw(curve: ThresholdCurve, chosen: Mapping[str, OperatingPoint | None]) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError(
            f'curves are drawn by the package {error.name}; run: pip install "extd[eval]"'
        ) from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    points = [curve.at(threshold) for threshold in GRID.tolist()]
    axes.plot(GRID, [point.precision for point in points], label="precision")
    axes.plot(GRID, [point.recall for point in points], label="recall")
    # Names of two thresholds in one place stand on either side of the line.
    for side, (name, point) in zip(cycle(("right", "left")), chosen.items(), strict=False):
        if point is not None:
            axes.axvline(point.threshold, color="gray", linestyle="--", linewidth=1)
            text = f"{name}: {point.threshold:g}"
            axes.annotate(
                text,
                (point.threshold, 0.06),
                xytext=(-4 if side == "right" else 4, 0),
                textcoords="offset points",
                rotation=90,
                ha=side,
                fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
            )
    axes.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    # Above the axes, where no curve passes.
    axes.set_title(f"{curve.faces:,} faces", loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    return figure
