"""Blur images and films for a long time; memory must not grow.

    python tools/soak.py --minutes 60 --images 20000

Prints the memory at intervals. Ends with 1 if the median of the last quarter exceeds that of the
first, after a tenth of the images, by more than 5 %. It is sampled after every image: samples
differ with the size of images.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from statistics import median

import PIL.Image
from fuzz_inputs import ROOT, make_films

from extd.blur import blur_image, blur_video
from extd.detector import Detector

GROWTH = 1.05
"""Factor by which memory may grow."""
PRINTED = 20
"""How often memory is printed."""
SIDES = (240, 1100)
"""Shortest and longest side of the images, px."""
FILM_EVERY = 10
"""Images between two films."""


def resident() -> int:
    """Bytes of this process in memory; Linux only."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * 4096


def soak(seconds: float, images: int, folder: Path) -> list[int]:
    """Work until both the time is over and so many images are done; memory after each of these."""
    random_, detector = random.Random(0), Detector(threads=1)
    originals = [PIL.Image.open(path) for path in sorted((ROOT / "examples").glob("*.jpg"))]
    films = []
    for name, files in make_films().items():
        # Those that are written, too.
        if name.endswith((".mp4", ".mov", ".mkv")):
            films.append(folder / name)
            films[-1].write_bytes(files[name])
    begin, printed = time.monotonic(), 1
    samples: list[int] = []
    for number in count(1):
        size = random_.randint(*SIDES), random_.randint(*SIDES)
        source = folder / f"image{random_.choice(('.jpg', '.png', '.webp'))}"
        random_.choice(originals).convert("RGB").resize(size).save(source)
        blur_image(source, source.with_stem("blurred"), detector)
        if number % FILM_EVERY == 0:
            film = random_.choice(films)
            blur_video(film, film.with_stem("blurred"), detector)
        spent = time.monotonic() - begin
        done = min(spent / max(seconds, 1e-9), number / max(images, 1))
        samples.append(resident())
        if done * PRINTED >= printed:
            printed += 1
            print(f"{spent:6.0f} s, {number:6,} images: {samples[-1] >> 20} MB", flush=True)
        if done >= 1:
            return samples
    raise AssertionError


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--images", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        samples = soak(options.minutes * 60, options.images, Path(name))
    begin, quarter = len(samples) // 10, len(samples) // 4
    early, last = median(samples[begin : begin + quarter]), median(samples[-quarter:])
    print(f"early {early / 2**20:.0f} MB, late {last / 2**20:.0f} MB: {last / early - 1:+.1%}")
    return 1 if last > early * GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
