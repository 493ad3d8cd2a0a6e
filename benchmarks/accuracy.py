"""Measure the AP of detectors on WIDER FACE, and set it against their latency.

    python benchmarks/latency.py --peers PEERS --out results/bench
    python benchmarks/accuracy.py --peers PEERS --images WIDER_val/images \
        --ground-truth ground_truth --latency results/bench/latency.csv --out results/bench

Each image is seen once at its own size, with scores above 0.02, as by `extd eval wider`. Writes
ap.csv, and with --latency ap_against_latency.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from adapters import FaceDetector, open_detectors
from adjustText import adjust_text

from extd.evaluation.predictions import Prediction, to_prediction
from extd.evaluation.protocols import LOWEST
from extd.evaluation.wider import GroundTruth, evaluate_detector, load_ground_truth
from extd.files import atomic_write
from extd.pixels import Image

STYLE = Path(__file__).resolve().parents[1] / "paper" / "paper.mplstyle"
SIZE = (640, 480)
"""The image size whose latency AP is set against."""


def measure(
    detector: FaceDetector, images: Path, truth: Sequence[GroundTruth], save_in: Path | None
) -> dict[str, object]:
    """A row of ap.csv; the detections are saved in the folder `save_in`, in WIDER's format."""

    def detect(image: Image) -> Prediction:
        faces, _ = detector.detect(image, LOWEST)
        return to_prediction(faces)

    folder = save_in and save_in / detector.name
    result = evaluate_detector(detect, images, truth, save_in=folder)
    row = {"detector": detector.name, "how": detector.how, "protocol": "single"}
    return row | {"images": result.images} | {k: round(v, 5) for k, v in result.ap.items()}


def with_latency(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The rows of ap.csv with those of latency.csv at 640x480.

    Raises:
        ValueError: the file lacks that size.
    """
    latency = pd.read_csv(path)
    latency = latency[(latency["width"] == SIZE[0]) & (latency["height"] == SIZE[1])]
    if latency.empty:
        raise ValueError(f"{path} has no rows of {SIZE[0]}x{SIZE[1]}; measure that size too")
    return table.merge(latency, "left", "detector")


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw AP on hard and easy faces against the network's time, or the whole where it is alone."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.4))
    times = table["network_ms"].fillna(table["whole_ms"])
    for axis, difficulty in zip(axes, ("hard", "easy"), strict=True):
        axis.scatter(times, table[difficulty])
        axis.set(title=f"{difficulty} faces", ylabel="AP", xscale="log")
        axis.set_xlabel(f"milliseconds of the network at {SIZE[0]}x{SIZE[1]}")
        places = zip(times, table[difficulty], table["detector"], strict=True)
        texts = [axis.text(*place, fontsize=8) for place in places]
        adjust_text(texts, ax=axis, arrowprops={"arrowstyle": "-", "color": "0.7"})
    figure.suptitle(f"AP on {table['images'][0]:,} images, each seen once at its own size")
    with atomic_write(path) as partial:
        figure.savefig(partial)
    plt.close(figure)


def build_parser(description: str) -> argparse.ArgumentParser:
    """The arguments that say which detectors to measure, and on what."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("models", nargs="*", help="models or .onnx files; all that ship")
    parser.add_argument("--peers", type=Path, help="folder of .onnx files to compare with")
    parser.add_argument("--images", type=Path, required=True, help="folder of EVENT/IMAGE.jpg")
    parser.add_argument("--ground-truth", type=Path, required=True, help="official .mat files")
    parser.add_argument("--threads", type=int, default=1, help="0 is one per core")
    parser.add_argument("--out", type=Path, required=True, help="folder for figure and table")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    parser = build_parser(__doc__.splitlines()[0])
    parser.add_argument("--latency", type=Path, help="latency.csv of the same detectors")
    parser.add_argument("--save-predictions", type=Path, help="folder, in WIDER's format")
    options = parser.parse_args(arguments)
    plt.style.use(STYLE)
    truth = load_ground_truth(options.ground_truth)
    detectors = open_detectors(options.models, options.peers, options.threads)
    save_in = options.save_predictions
    table = pd.DataFrame([measure(one, options.images, truth, save_in) for one in detectors])
    print(table.to_string(index=False))
    if options.latency:
        table = with_latency(table, options.latency)
        plot(table, options.out / "ap_against_latency.png")
    with atomic_write(options.out / "ap.csv") as partial:
        table.to_csv(partial, index=False)


if __name__ == "__main__":
    main()
