"""What faces of all sizes cost in a large image, and what `min_face` saves.

    python benchmarks/large_images.py IMAGE [--megapixels 12] [--rounds 5]

Prints milliseconds of `Detector.detect` on one thread, the image enlarged or shrunk to that many
megapixels and in memory: one pass at its own size, the default (also at halved sizes), and the
default for faces from 40, 80 and 160 px. The ways take turns; the fastest of all rounds counts.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from extd.detector import Detector, Options
from extd.images import read_image, resize

WAYS = {
    "one pass": Options(scales=(1.0,)),
    "default": Options(),
    "min_face 40": Options(min_face=40),
    "min_face 80": Options(min_face=80),
    "min_face 160": Options(min_face=160),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--model", default="extd-lite")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    image = read_image(options.image)
    height, width = image.shape[:2]
    factor = math.sqrt(options.megapixels * 1e6 / (height * width))
    image = resize(image, (round(width * factor), round(height * factor)))
    detector = Detector(options.model, threads=1)
    rows = []
    for _ in range(options.rounds):
        row = {}
        for name, way in WAYS.items():
            began = time.perf_counter()
            detector.detect(image, way)
            row[name] = 1000 * (time.perf_counter() - began)
        rows.append(row)
    least = pd.DataFrame(rows).min()
    table = pd.DataFrame({"ms": least.round(1), "of one pass": least / least["one pass"]})
    print(f"{options.model}, {image.shape[1]} x {image.shape[0]} px, one thread")
    print(table.to_string(float_format="{:.2f}".format))


if __name__ == "__main__":
    main()
