"""Which faces are found: WIDER FACE's faces by size and by attribute."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.measure import wider
from extd.measure.predictions import Prediction
from extd.measure.wider import Picture

HARD = wider.DIFFICULTIES.index("hard")
"""Its faces are nearly all that are 10 px high or higher: those that count here."""
EDGES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""Between the bins of sizes, the square root of a face's area in px."""
ATTRIBUTES = {
    "blur": ("clear", "normal blur", "heavy blur"),
    "occlusion": ("no occlusion", "partial occlusion", "heavy occlusion"),
    "pose": ("typical pose", "atypical pose"),
    "illumination": ("normal light", "extreme light"),
    "expression": ("typical expression", "exaggerated expression"),
}
"""WIDER FACE's labels of each face, and the names of their values from 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Subsets:
    """Faces in groups.

    Attributes:
        names: of the N groups; the first one is all faces.
        pictures: ground truth, whose `keep` tells of each face in which groups it is.
    """

    names: tuple[str, ...]
    pictures: tuple[Picture, ...]

    @property
    def faces(self) -> list[int]:
        """How many faces each group has."""
        counts: list[int] = np.sum([picture.keep.sum(1) for picture in self.pictures], 0).tolist()
        return counts


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """How many faces of each group a detector finds.

    Attributes:
        recall: float64 [N], found faces over faces, with as many false alarms as asked for; nan
            where a group has no face.
        ap: float64 [N], average precision where only that group counts; nan likewise.
        false_alarms: how many there are a picture; fewer than asked for where scores are equal.
    """

    recall: NDArray[np.float64]
    ap: NDArray[np.float64]
    false_alarms: float


def by_size(ground_truth: Sequence[Picture]) -> Subsets:
    """The faces of the hard set, by size."""
    edges = np.array([0, *EDGES, math.inf])
    names = [f"{low}-{high}" for low, high in pairwise(EDGES)]
    groups = []
    for picture in ground_truth:
        size = np.sqrt(np.maximum(picture.boxes[:, 2:], 0).prod(1))
        groups.append((edges[:-1, None] <= size) & (size < edges[1:, None]))
    return _subsets([f"< {EDGES[0]}", *names, f">= {EDGES[-1]}"], groups, ground_truth)


def by_attribute(ground_truth: Sequence[Picture], folder: Path) -> Subsets:
    """The faces of the hard set, by each of `ATTRIBUTES`.

    Args:
        ground_truth: of the whole validation set.
        folder: with the official wider_face_val.mat.

    Raises:
        ImportError: SciPy is missing.
        FileNotFoundError: the file is missing.
        ValueError: it is not WIDER's.
    """
    labels = {name: wider.load_attribute(folder, name) for name in ATTRIBUTES}
    groups = [
        np.array(
            [
                labels[attribute][index] == value
                for attribute, names in ATTRIBUTES.items()
                for value in range(len(names))
            ]
        )
        for index in range(len(ground_truth))
    ]
    return _subsets([name for names in ATTRIBUTES.values() for name in names], groups, ground_truth)


def _subsets(
    names: Sequence[str], groups: Sequence[NDArray[np.bool_]], ground_truth: Sequence[Picture]
) -> Subsets:
    """Those of the hard set that are in each group, and all of it first."""
    pictures = []
    for picture, group in zip(ground_truth, groups, strict=True):
        counts = picture.keep[HARD]
        keep = np.concatenate([counts[None], group & counts])
        pictures.append(Picture(picture.event, picture.name, picture.boxes, keep))
    return Subsets(("all", *names), tuple(pictures))


def restricted(subsets: Subsets, keys: Iterable[str]) -> Subsets:
    """The same groups in the pictures `event/name` alone.

    Raises:
        ValueError: a picture is not in the ground truth.
    """
    wanted = set(keys)
    pictures = tuple(picture for picture in subsets.pictures if picture.key in wanted)
    unknown = sorted(wanted - {picture.key for picture in pictures})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is predicted but is not in the ground truth")
    return Subsets(subsets.names, pictures)


def find(predictions: Mapping[str, Prediction], subsets: Subsets, false_alarms: float) -> Found:
    """How many faces of each group are among the detections of several pictures.

    Args:
        predictions: by `event/name`, of each picture of `subsets` and no other.
        subsets: the faces.
        false_alarms: how many detections of no face, a picture and on average, are allowed.
    """
    pictures, faces = subsets.pictures, subsets.faces
    counts = wider.count_matches(predictions, pictures)
    alarms = counts[0, 1] - counts[0, 0]
    allowed = np.flatnonzero(alarms <= false_alarms * len(pictures))
    last = int(allowed.max(initial=-1))
    curves = [
        wider.curve_of(hits, detections, total)
        for (hits, detections), total in zip(counts, faces, strict=True)
    ]
    return Found(
        # Where the surest detections alone have more false ones, no threshold finds a face.
        np.array([curve.recall[last] if last >= 0 else 0.0 for curve in curves]),
        np.array([curve.ap for curve in curves]),
        float(alarms[last] / len(pictures)) if last >= 0 else 0.0,
    )
