"""How far a detector's boxes lie from the labels, by the size of faces, and what it costs.

    python benchmarks/box_offsets.py WIDER/labels.jsonl extd-lite PEERS/yunet_n_dynamic.onnx \
        --images 250 --shift -0.5

Prints the medians over all faces that a box overlaps by an IoU of at least 0.3: how many px the
box's center lies to the right and below, and how many times it is as wide and as high. Then AP,
for faces of all sizes, small, medium and large ones, as found and with all boxes moved sideways.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from adapters import FaceDetector, open_detector
from numpy.typing import NDArray

from extd.boxes import area, iou
from extd.data.datasets import read_dataset
from extd.data.sample import Sample
from extd.evaluation.labeled import detect_labeled, score
from extd.evaluation.predictions import Prediction, to_prediction
from extd.evaluation.protocols import LOWEST
from extd.pixels import Image

MIN_IOU, MIN_SCORE = 0.3, 0.1
EDGES = (6, 10, 16, 32, np.inf)
"""Sizes of faces, roots of their areas, px."""


def matched(sample: Sample, found: Prediction) -> NDArray[np.float32]:
    """Pairs of a face and its best box, [N, 8]; the box's score is at least `MIN_SCORE`."""
    boxes = to_xyxy(found)[found.scores >= MIN_SCORE]
    if not len(boxes) or not len(sample.boxes):
        return np.empty((0, 8), np.float32)
    overlaps = iou(sample.boxes, boxes)
    near = overlaps.max(1) >= MIN_IOU
    pairs: NDArray[np.float32] = np.hstack([sample.boxes, boxes[overlaps.argmax(1)]])[near]
    return pairs


def to_xyxy(found: Prediction) -> NDArray[np.float32]:
    corner, size = found.boxes[:, :2], found.boxes[:, 2:]
    return np.column_stack([corner, corner + size]).astype(np.float32)


def offsets(pairs: NDArray[np.float32]) -> list[float]:
    """Medians: px to the right and below, ratios of width and height."""
    face, box = pairs[:, :4], pairs[:, 4:]
    moved = (box[:, :2] + box[:, 2:] - face[:, :2] - face[:, 2:]) / 2
    ratio = (box[:, 2:] - box[:, :2]) / (face[:, 2:] - face[:, :2])
    return [*np.median(moved, 0).tolist(), *np.median(ratio, 0).tolist()]


def detect(detector: FaceDetector, image: Image) -> Prediction:
    return to_prediction(detector.detect(image, LOWEST)[0])


def shifted(found: Prediction, x: float) -> Prediction:
    return Prediction(np.add(found.boxes, (x, 0, 0, 0)), found.scores)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--images", type=int, help="how many, drawn at random; default: all")
    parser.add_argument("--shift", type=float, default=-0.5, help="px to the right; default: -0.5")
    args = parser.parse_args(argv)
    samples = [sample for sample in read_dataset(args.labels) if len(sample.boxes)]
    if args.images is not None and args.images < len(samples):
        chosen = np.random.default_rng(0).choice(len(samples), args.images, replace=False)
        samples = [samples[index] for index in chosen]
    for model in args.models:
        detector = open_detector(model)
        found = detect_labeled(partial(detect, detector), samples)
        pairs = np.concatenate(list(map(matched, samples, found)))
        size = np.sqrt(area(pairs[:, :4]))
        print(detector.name)
        for low, high in pairwise(EDGES):
            group = pairs[(size >= low) & (size < high)]
            if len(group):
                x, y, width, height = offsets(group)
                print(
                    f"  faces of {low:g} to {high:g} px: {len(group):5,} found, {x:+.2f} px right, "
                    f"{y:+.2f} px below, {width:.2f} times as wide, {height:.2f} as high"
                )
        for x in (0.0, args.shift):
            ap = score(samples, [shifted(each, x) for each in found]).ap
            values = ", ".join(f"{name} {value:.3f}" for name, value in ap.items())
            print(f"  AP with boxes moved {x:+.2f} px: {values}")


if __name__ == "__main__":
    main()
