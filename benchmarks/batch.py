"""Does the network wait for pictures, or for their reading?

    python benchmarks/batch.py [FOLDER] [--pictures 1000] [--suffixes .jpg .png .webp]

Prints pictures a second of the network alone, on pictures that were read before, of reading and
detecting in turn, and of `Detector.detect_many`, which reads and detects side by side as `extd
detect` does; for the latter also with pictures that were read before. Without a FOLDER it makes
pictures of mixed formats and sizes from those in `examples`.
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
from extd.media.sources import find_images

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# Most pictures in folders are JPEG, which is the fastest to decode.
SUFFIXES = (".jpg", ".jpg", ".jpg", ".jpg", ".png", ".webp")
SIDES = (480, 800, 1280)
CHUNK = 250


def mixed(folder: Path, count: int, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """So many pictures, of these formats in turn and three longer sides."""
    originals = [cv2.imread(str(path)) for path in sorted(EXAMPLES.glob("*.jpg"))]
    kinds = islice(cycle(product(originals, suffixes, SIDES)), count)
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


def many(detector: Detector, paths: Sequence[Path]) -> float:
    """Seconds where threads each read a picture and look at it."""
    began = time.perf_counter()
    for _ in detector.detect_many(paths):
        pass
    return time.perf_counter() - began


def many_alone(detector: Detector, paths: Sequence[Path]) -> float:
    """The same, on pictures that are in memory."""
    images = [read_image(path) for path in paths]
    began = time.perf_counter()
    for _ in detector.detect_many(images):
        pass
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--suffixes", nargs="+", default=SUFFIXES, help="formats to make, in turn")
    parser.add_argument("--threads", type=int, default=0, help="of the network; 0 is one a core")
    arguments = parser.parse_args()
    detector = Detector(threads=arguments.threads)
    with tempfile.TemporaryDirectory() as made:
        if arguments.folder:
            paths = [source.path for source in find_images([arguments.folder])]
            paths = paths[: arguments.pictures]
        else:
            paths = mixed(Path(made), arguments.pictures, arguments.suffixes)
        ways = {
            "network alone": alone,
            "network alone, side by side": many_alone,
            "read and detect in turn": in_turn,
            "read and detect side by side": many,
        }
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
