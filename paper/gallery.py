"""Draw a page of WIDER FACE's images under hard conditions with the faces that are found.

    python paper/gallery.py --images WIDER_val/images --ground-truth ground_truth --out page.png

For each condition the image with the most such faces is taken, among those of at most 40, so that
nobody chooses by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from figures import STYLE, save_figure
from matplotlib.figure import Figure
from recall import SIZES, VALUES, group_by_attribute, group_by_size

from extd.boxes import iou
from extd.catalog import DEFAULT_MODEL
from extd.detector import Detector, Options
from extd.evaluation.wider import IOU, GroundTruth, corners, find_images, load_ground_truth
from extd.images import read_image
from extd.media.annotate import annotate

CONDITIONS = {
    "< 16 px": ("< 8", "8-12", "12-16"),
    ">= 192 px": ("192-256", "256-384", ">= 384"),
    "heavy blur": ("heavy blur",),
    "heavy occlusion": ("heavy occlusion",),
    "atypical pose": ("atypical pose",),
    "extreme light": ("extreme light",),
}
"""The groups of faces, as in recall.py, that make up a condition."""
MOST_FACES = 40
COLUMNS = 3


def choose(
    keys: Sequence[str], truth: Sequence[GroundTruth], folder: Path
) -> dict[str, GroundTruth]:
    """For each condition the image with the most faces of it, none twice.

    Of several with as many faces it is the first by name. A condition without faces is left out.

    Args:
        keys: `event/name` of the images to choose from.
        truth: the whole validation set.
        folder: of the ground truth, which has the attributes.
    """
    chosen: dict[str, GroundTruth] = {}
    by_size, by_attribute = group_by_size(truth), group_by_attribute(truth, folder)
    groups = {
        sizes.key: dict(zip((*SIZES, *VALUES), [*sizes.keep[1:], *values.keep[1:]], strict=True))
        for sizes, values in zip(by_size, by_attribute, strict=True)
    }
    candidates = {
        image.key: image
        for image in sorted(by_size, key=lambda image: image.key)
        if image.key in keys and image.keep[0].sum() <= MOST_FACES
    }
    for condition, names in CONDITIONS.items():
        counts = {key: sum(groups[key][name].sum() for name in names) for key in candidates}
        best = max(counts, key=lambda key: counts[key], default=None)
        if best is not None and counts[best]:
            chosen[condition] = candidates.pop(best)
    return chosen


def draw(
    chosen: Mapping[str, GroundTruth], paths: Mapping[str, Path], detector: Detector
) -> Figure:
    """A page of the images, with the faces found and how many of those that count they are."""
    rows = -(-len(chosen) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4 * COLUMNS, 3.4 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (condition, truth) in zip(axes.flat, chosen.items(), strict=False):
        image = read_image(paths[truth.key])
        faces = detector.detect(image)
        labeled = corners(truth.boxes[truth.keep[0]]).astype(np.float32)
        hits = int((iou(labeled, faces.boxes).max(1, initial=0) >= IOU).sum())
        axis.imshow(annotate(image, faces))
        axis.set_title(f"{condition}: {hits} of {len(labeled)} found", fontsize=9)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of EVENT/IMAGE.jpg")
    parser.add_argument("--ground-truth", type=Path, required=True, help="official .mat files")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=0, help="0 is one per core")
    parser.add_argument("--out", type=Path, required=True, help="the figure to write")
    options = parser.parse_args(arguments)
    plt.style.use(STYLE)
    truth = load_ground_truth(options.ground_truth)
    paths = find_images(options.images, truth)
    chosen = choose(list(paths), truth, options.ground_truth)
    detector = Detector(
        options.model, options=Options(threshold=options.threshold), threads=options.threads
    )
    figure = draw(chosen, paths, detector)
    figure.suptitle(
        f"{Path(options.model).name}, threshold {options.threshold:g}; "
        "found of the faces that count in the hard set"
    )
    save_figure(figure, options.out)


if __name__ == "__main__":
    main()
