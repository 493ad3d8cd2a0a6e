"""Draw which faces of WIDER FACE's hard set are found: recall by size, or by attribute.

    extd eval wider --images WIDER_val/images --ground-truth ground_truth --save-predictions found/a
    python paper/recall.py size found/a found/b --ground-truth ground_truth --out results/recall
    python paper/recall.py attributes found/a found/b --ground-truth ground_truth --out results/a

Each detector is taken at the threshold where it makes that many false positives per image, so
that scores need not mean the same. For the AP of an attribute's value, faces of other values are
ignored but all false positives count: the fewer faces a value has, the lower its AP, so compare
detectors, not values.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from figures import STYLE, save_figure
from matplotlib.figure import Figure
from numpy.typing import NDArray

from extd.data.wider import read_mat
from extd.evaluation import wider
from extd.evaluation.predictions import Prediction, read_predictions
from extd.evaluation.wider import GroundTruth
from extd.files import atomic_write

HARD = wider.DIFFICULTIES.index("hard")
"""The hard set is nearly every face of 10 px height or more."""
EDGES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""Between the bins of sizes: the square root of a face's area in px."""
SIZES = (
    f"< {EDGES[0]}",
    *(f"{low}-{high}" for low, high in pairwise(EDGES)),
    f">= {EDGES[-1]}",
)
ATTRIBUTES = {
    "blur": ("clear", "normal blur", "heavy blur"),
    "occlusion": ("no occlusion", "partial occlusion", "heavy occlusion"),
    "pose": ("typical pose", "atypical pose"),
    "illumination": ("normal light", "extreme light"),
    "expression": ("typical expression", "exaggerated expression"),
}
"""WIDER FACE's labels of each face, and the names of their values from 0."""
VALUES = tuple(name for names in ATTRIBUTES.values() for name in names)


def group_by_size(truth: Sequence[GroundTruth]) -> list[GroundTruth]:
    """The same images, `keep` [1 + len(SIZES), G]: the hard set, then its faces of each size."""
    low, high = np.array([0, *EDGES])[:, None], np.array([*EDGES, math.inf])[:, None]
    sides = [np.sqrt(np.maximum(image.boxes[:, 2:], 0).prod(1)) for image in truth]
    return _grouped(truth, [(low <= side) & (side < high) for side in sides])


def group_by_attribute(truth: Sequence[GroundTruth], folder: Path) -> list[GroundTruth]:
    """The same images, `keep` [1 + len(VALUES), G]: the hard set, then its faces of each value.

    Args:
        truth: the whole validation set.
        folder: with the official wider_face_val.mat, which has the attributes.

    Raises:
        FileNotFoundError, ValueError: as `load_ground_truth`.
    """
    rows: list[list[NDArray[np.bool_]]] = [[] for _ in truth]
    for attribute, names in ATTRIBUTES.items():
        variable = f"{attribute}_label_list"
        labels = read_mat(folder / "wider_face_val.mat", variable)[variable]
        images = [image.ravel() for event in labels[:, 0] for image in event[:, 0]]
        for row, image in zip(rows, images, strict=True):
            row.extend(image == value for value in range(len(names)))
    return _grouped(truth, [np.array(row) for row in rows])


def _grouped(
    truth: Sequence[GroundTruth], groups: Sequence[NDArray[np.bool_]]
) -> list[GroundTruth]:
    return [
        replace(image, keep=np.concatenate([image.keep[HARD][None], group & image.keep[HARD]]))
        for image, group in zip(truth, groups, strict=True)
    ]


def find_faces(
    predictions: Mapping[str, Prediction], grouped: Sequence[GroundTruth], false_positives: float
) -> pd.DataFrame:
    """A row per group: faces, recall, AP (nan without faces), false positives per image.

    Args:
        predictions: by `event/name`; faces of other images are left out.
        grouped: the faces by group, the first of which is all of them.
        false_positives: how many are allowed per image, on average.
    """
    images = [truth for truth in grouped if truth.key in predictions]
    counts = wider.count_matches(predictions, images)
    faces = np.sum([truth.keep.sum(1) for truth in images], 0)
    false = counts[0, 1] - counts[0, 0]
    last = int(np.flatnonzero(false <= false_positives * len(images)).max(initial=-1))
    curves = [
        wider.curve_from_counts(hits, detections, int(total))
        for (hits, detections), total in zip(counts, faces, strict=True)
    ]
    # If the most certain detections alone have more false positives, no threshold will do.
    recall = [curve.recall[last] if last >= 0 else 0.0 for curve in curves]
    return pd.DataFrame(
        {
            "faces": faces,
            "recall": np.round(recall, 4),
            "ap": np.round([curve.ap for curve in curves], 4),
            "false_alarms": round(false[last] / len(images), 3) if last >= 0 else 0.0,
        }
    )


def read_all(
    folders: Sequence[Path], truth: Sequence[GroundTruth]
) -> dict[str, dict[str, Prediction]]:
    """The predictions in each folder, by the folder's name.

    Raises:
        FileNotFoundError: a folder has none.
        ValueError: two folders have the same name, or an image is missing from one of them or
            from the ground truth.
    """
    found = {folder.resolve().name: read_predictions(folder) for folder in folders}
    if len(found) < len(folders):
        raise ValueError(f"two folders have the same name among {[str(f) for f in folders]}")
    images = next(iter(found.values())).keys()
    for folder, predictions in zip(folders, found.values(), strict=True):
        if odd := sorted(images ^ predictions.keys()):
            raise ValueError(
                f"{folder} and {folders[0]} must have the same images; {odd[0]} is in one alone"
            )
    if unknown := sorted(images - {image.key for image in truth}):
        raise ValueError(f"{unknown[0]!r} is predicted but is not in the ground truth")
    return found


def plot_sizes(table: pd.DataFrame, caption: str, path: Path) -> None:
    """Draw recall over the size of faces."""
    figure, axis = plt.subplots(figsize=(9, 5))
    for name, rows in table.groupby("detector", sort=False):
        axis.plot(rows["group"][1:], rows["recall"][1:], marker="o", label=name)
    faces = table["faces"][1 : len(SIZES) + 1]
    labels = [f"{name}\n({count:,})" for name, count in zip(SIZES, faces, strict=True)]
    axis.set_xticks(range(len(SIZES)), labels, fontsize=8)
    axis.set(xlabel="size of faces in px (how many)", ylabel="recall", ylim=(0, 1.02))
    _finish(figure, caption, path)


def plot_attributes(table: pd.DataFrame, caption: str, path: Path) -> None:
    """Draw recall and AP by attribute, a row of the figure for each value."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 5.6), sharey=True)
    for axis, column in zip(axes, ("recall", "ap"), strict=True):
        for name, rows in table.groupby("detector", sort=False):
            axis.plot(rows[column], rows["group"], "o", label=name if column == "recall" else None)
        axis.set(xlabel={"recall": "recall", "ap": "AP"}[column], xlim=(0, 1))
    faces = table["faces"][: len(VALUES) + 1]
    names = [f"{name} ({n:,})" for name, n in zip(("all", *VALUES), faces, strict=True)]
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].invert_yaxis()
    _finish(figure, caption, path)


def _finish(figure: Figure, caption: str, path: Path) -> None:
    figure.suptitle(caption)
    figure.legend(loc="outside lower center", ncols=4)
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("by", choices=["size", "attributes"])
    parser.add_argument("predictions", type=Path, nargs="+", help="folders in WIDER's format")
    parser.add_argument("--ground-truth", type=Path, required=True, help="official .mat files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figure and table")
    parser.add_argument("--false-positives", type=float, default=1.0, help="allowed per image")
    options = parser.parse_args(arguments)
    plt.style.use(STYLE)
    truth = wider.load_ground_truth(options.ground_truth)
    found = read_all(options.predictions, truth)
    if options.by == "size":
        grouped, groups = group_by_size(truth), ("all", *SIZES)
    else:
        grouped, groups = group_by_attribute(truth, options.ground_truth), ("all", *VALUES)
    tables = []
    for name, predictions in found.items():
        table = find_faces(predictions, grouped, options.false_positives)
        table.insert(0, "group", groups)
        table.insert(0, "detector", name)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    images = len(next(iter(found.values())))
    caption = (
        f"faces of WIDER FACE's hard set in {images:,} validation images; recall at "
        f"{options.false_positives:g} false positives per image"
    )
    name = "recall" if options.by == "size" else "attributes"
    draw = plot_sizes if options.by == "size" else plot_attributes
    draw(table, caption, options.out / f"{name}.png")
    with atomic_write(options.out / f"{name}.csv") as partial:
        table.to_csv(partial, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
