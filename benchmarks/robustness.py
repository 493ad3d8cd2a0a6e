"""AP of detectors on WIDER FACE's images when these are noisy, blurred, dark or badly compressed.

    python benchmarks/robustness.py extd-lite extd-lite-nano --peers PEERS \
        --images WIDER_val/images --ground-truth ground_truth --out results/robustness

Each image is seen once at its own size, as by accuracy.py. Writes robustness.csv and a plot of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from accuracy import STYLE
from adapters import FaceDetector, open_detectors
from numpy.typing import NDArray

from extd.evaluation.predictions import Prediction, to_prediction
from extd.evaluation.protocols import LOWEST
from extd.evaluation.wider import evaluate_detector, load_ground_truth
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


def measure(
    detector: FaceDetector, damage: str, arguments: argparse.Namespace
) -> dict[str, object]:
    """A row of robustness.csv."""

    def detect(image: Image) -> Prediction:
        return to_prediction(detector.detect(DAMAGES[damage](image), LOWEST)[0])

    truth = load_ground_truth(arguments.ground_truth)
    result = evaluate_detector(detect, arguments.images, truth)
    row = {"detector": detector.name, "images": damage, "number": result.images}
    return row | {name: round(result.ap[name], 5) for name in DIFFICULTIES}


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="models or .onnx files; all that ship")
    parser.add_argument("--peers", type=Path, help="folder of .onnx files to compare with")
    parser.add_argument("--images", type=Path, required=True, help="folder of EVENT/IMAGE.jpg")
    parser.add_argument("--ground-truth", type=Path, required=True, help="official .mat files")
    parser.add_argument("--threads", type=int, default=1, help="0 is one per core")
    parser.add_argument("--out", type=Path, required=True, help="folder for figure and table")
    arguments = parser.parse_args(argv)
    plt.style.use(STYLE)
    rows = []
    for detector in open_detectors(arguments.models, arguments.peers, arguments.threads):
        for damage in DAMAGES:
            rows.append(measure(detector, damage, arguments))
            print(*rows[-1].values(), sep=", ", flush=True)
    table = pd.DataFrame(rows)
    with atomic_write(arguments.out / "robustness.csv") as target:
        table.to_csv(target, index=False)
    plot(table, arguments.out / "robustness.png")


if __name__ == "__main__":
    main()
