"""Does the network wait for images to be read?

    python benchmarks/batch.py FOLDER [--images 1000] [--threads 0]

Prints images per second of the network alone, of reading and detecting in turn, and of
`Detector.detect_many`, which reads and detects side by side as `extd detect` does: for files, and
for images that are in memory already.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from extd.detector import Detector
from extd.images import ImageSource, read_image

SUFFIXES = {".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
CHUNK = 250
"""Images that are kept in memory."""


def in_turn(detector: Detector, images: Sequence[ImageSource]) -> None:
    for image in images:
        detector.detect(image)


def side_by_side(detector: Detector, images: Sequence[ImageSource]) -> None:
    for _ in detector.detect_many(images):
        pass


def compare(detector: Detector, paths: Sequence[Path]) -> pd.DataFrame:
    """Images per second of each way, and its share of what the network alone reaches."""
    taken: dict[str, float] = defaultdict(float)
    detector.detect(paths[0])
    # In turns, so that other load hits all alike.
    for first in range(0, len(paths), CHUNK):
        chunk = paths[first : first + CHUNK]
        images = [read_image(path) for path in chunk]
        for name, way, sources in (
            ("network alone", in_turn, images),
            ("network alone, side by side", side_by_side, images),
            ("read and detect in turn", in_turn, chunk),
            ("read and detect side by side", side_by_side, chunk),
        ):
            began = time.perf_counter()
            way(detector, sources)
            taken[name] += time.perf_counter() - began
    rates = pd.Series({name: len(paths) / total for name, total in taken.items()})
    shares = rates / rates["network alone"]
    return pd.DataFrame({"images per second": rates, "share of the network's own": shares})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000, help="at most")
    parser.add_argument("--threads", type=int, default=0, help="of the network; 0 is one per core")
    options = parser.parse_args(arguments)
    files = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        parser.error(f"there are no images in {options.folder}")
    table = compare(Detector(threads=options.threads), files[: options.images])
    print(table.to_markdown(floatfmt=".2f"))


if __name__ == "__main__":
    main()
