"""AP of detectors on WIDER FACE's images when these are noisy, blurred, dark or badly compressed.

    python benchmarks/robustness.py extd-lite extd-lite-nano --peers PEERS \
        --images WIDER_val/images --ground-truth ground_truth --out results/robustness

Each image is seen once at its own size, as by accuracy.py. Writes robustness.csv and a plot of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from accuracy import STYLE, build_parser, measure
from adapters import FaceDetector, open_detectors
from numpy.typing import NDArray

from extd.evaluation.wider import GroundTruth, load_ground_truth
from extd.faces import Faces
from extd.files import atomic_write
from extd.pixels import Image

DIFFICULTIES = ("easy", "medium", "hard")


def add_noise(image: Image, deviation: float) -> Image:
    """The same in all channels, as of a sensor after its color filter is interpolated."""
    noise = np.random.default_rng(0).normal(0, deviation, (*image.shape[:2], 1))
    return to_bytes(image + noise)


def compress(image: Image, quality: int) -> Image:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def blur(image: Image, deviation: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), deviation), np.uint8)


def darken(image: Image, gain: float) -> Image:
    return add_noise(to_bytes(image * gain), 2)


def to_bytes(values: NDArray[np.floating[Any]]) -> Image:
    return values.round().clip(0, 255).astype(np.uint8)


DAMAGES: dict[str, Callable[[Image], Image]] = {
    "as they are": lambda image: image,
    "noise of deviation 8": partial(add_noise, deviation=8),
    "noise of deviation 16": partial(add_noise, deviation=16),
    "JPEG of quality 40": partial(compress, quality=40),
    "JPEG of quality 20": partial(compress, quality=20),
    "blur of deviation 1 px": partial(blur, deviation=1),
    "a quarter as bright, noise of deviation 2": partial(darken, gain=0.25),
}


def measure_damaged(
    detector: FaceDetector, damage: str, images: Path, truth: Sequence[GroundTruth]
) -> dict[str, object]:
    """A row of robustness.csv."""

    def detect(image: Image, threshold: float) -> tuple[Faces, float]:
        return detector.detect(DAMAGES[damage](image), threshold)

    row = measure(replace(detector, detect=detect), images, truth, None)
    ap = {difficulty: row[difficulty] for difficulty in DIFFICULTIES}
    return {"detector": detector.name, "images": damage, "number": row["images"]} | ap


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw the AP that each detector keeps, by damage."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    damages = list(DAMAGES)[::-1]
    for axis, difficulty in zip(axes, ("hard", "medium"), strict=True):
        for name, rows in table.groupby("detector", sort=False):
            values = rows.set_index("images")[difficulty]
            axis.plot(values[damages], damages, "o-", label=name)
        axis.set(title=f"{difficulty} faces", xlabel="AP")
    labels = axes[0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside lower center", ncols=5)
    figure.suptitle(f"AP on {table['number'][0]:,} damaged images, each seen once at its own size")
    with atomic_write(path) as target:
        figure.savefig(target)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = build_parser(__doc__.splitlines()[0]).parse_args(argv)
    plt.style.use(STYLE)
    truth = load_ground_truth(arguments.ground_truth)
    rows = []
    for detector in open_detectors(arguments.models, arguments.peers, arguments.threads):
        for damage in DAMAGES:
            rows.append(measure_damaged(detector, damage, arguments.images, truth))
            print(*rows[-1].values(), sep=", ", flush=True)
    table = pd.DataFrame(rows)
    with atomic_write(arguments.out / "robustness.csv") as target:
        table.to_csv(target, index=False)
    plot(table, arguments.out / "robustness.png")


if __name__ == "__main__":
    main()
