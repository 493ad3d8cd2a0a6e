"""Print the peak memory, in bytes, of a process that detects once: Python and libraries included.

    python benchmarks/memory.py extd-lite --size 640x480

Linux only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from adapters import open_detector

from extd.images import read_image
from extd.pixels import Image

PORTRAIT = Path(__file__).resolve().parents[1] / "examples" / "astronaut.jpg"
THRESHOLD = 0.5


def portrait(size: str) -> Image:
    """A portrait stretched to `size`, as in 640x480.

    Raises:
        ValueError: that is no size.
    """
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"{size!r} is no size; give one like 640x480")
    return np.asarray(cv2.resize(read_image(PORTRAIT), (int(width), int(height))), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="as for benchmarks/latency.py")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    detector = open_detector(options.model, options.threads)
    detector.detect(portrait(options.size), THRESHOLD)
    status = Path("/proc/self/status").read_text("utf-8")
    # Unlike getrusage, this does not include the process that started this one.
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    print(1024 * int(peak))


if __name__ == "__main__":
    main()
