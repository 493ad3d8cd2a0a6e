"""Does the network wait for pictures, or for their reading?

    python benchmarks/batch.py [FOLDER] [--pictures 1000] [--threads 2]

Prints pictures a second of the network alone, on pictures that were read before, of reading and
detecting in turn, and of `extd detect`'s reading ahead. Without a FOLDER it makes pictures of
mixed formats and sizes from those in `examples`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice, product
from pathlib import Path

import cv2

from extd.detector import Detector
from extd.images import read_image
from extd.media.readahead import read_ahead
from extd.media.sources import find_pictures

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SUFFIXES = (".jpg", ".png", ".webp")
SIDES = (480, 800, 1280)
CHUNK = 25


def mixed(folder: Path, count: int) -> list[Path]:
    """So many pictures, of three formats and three longer sides in turn."""
    originals = [cv2.imread(str(path)) for path in sorted(EXAMPLES.glob("*.jpg"))]
    kinds = islice(cycle(product(originals, SUFFIXES, SIDES)), count)
    paths = []
    for index, (original, suffix, side) in enumerate(kinds):
        factor = side / max(original.shape[:2])
        path = folder / f"{index:04}{suffix}"
        cv2.imwrite(str(path), cv2.resize(original, None, fx=factor, fy=factor))
        paths.append(path)
    return paths


def alone(detector: Detector, paths: Sequence[Path]) -> float:
    """Seconds of the network, on pictures that are in memory."""
    images = [read_image(path) for path in paths]
    began = time.perf_counter()
    for image in images:
        detector.detect(image)
    return time.perf_counter() - began


def in_turn(detector: Detector, paths: Sequence[Path]) -> float:
    """Seconds of reading each picture and looking at it."""
    began = time.perf_counter()
    for path in paths:
        detector.detect(read_image(path))
    return time.perf_counter() - began


def ahead(detector: Detector, paths: Sequence[Path]) -> float:
    """Seconds where pictures are read in threads while the network runs."""
    began = time.perf_counter()
    for path, image in read_ahead(paths, read_image):
        if isinstance(image, Exception):
            raise SystemExit(f"{path}: {image}")
        detector.detect(image)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=0, help="of the network; 0 is one a core")
    arguments = parser.parse_args()
    detector = Detector(threads=arguments.threads)
    with tempfile.TemporaryDirectory() as made:
        if arguments.folder:
            paths = [source.path for source in find_pictures([arguments.folder])]
            paths = paths[: arguments.pictures]
        else:
            paths = mixed(Path(made), arguments.pictures)
        ways = {"network alone": alone, "read in turn": in_turn, "read ahead": ahead}
        seconds = dict.fromkeys(ways, 0.0)
        alone(detector, paths[:CHUNK])
        # In turns, so that what else the machine does is shared out.
        for begin in range(0, len(paths), CHUNK):
            for name, way in ways.items():
                seconds[name] += way(detector, paths[begin : begin + CHUNK])
    print(f"{len(paths)} pictures\n\n| what | pictures a second | share of the network's own |")
    print("|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {len(paths) / taken:.2f} | {seconds['network alone'] / taken:.1%} |")


if __name__ == "__main__":
    main()
