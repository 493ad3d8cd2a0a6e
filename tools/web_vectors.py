"""Write tests/vectors/*.json: what the page in web/ must compute as Python does.

    python tools/web_vectors.py

`detection.json` holds images, options and the faces that the float weights find; `resizing.json`
holds images at several sizes. Pixels are RGB, zlib-compressed, in base64.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from extd.detector import Detector, Options
from extd.files import atomic_write
from extd.images import read_image, resize
from extd.pixels import Image

ROOT = Path(__file__).parents[1]
VECTORS = ROOT / "tests" / "vectors"
FACE = (175, 35, 275, 155)
"""Where examples/astronaut.jpg shows a face, in px."""
SIZES = ((13, 9), (26, 18), (20, 11), (7, 5), (6, 4), (9, 13), (40, 30), (1, 1))
"""Widths and heights in px to which an image of 27 x 19 px is resized."""


def encode(image: Image) -> dict[str, Any]:
    packed = base64.b64encode(zlib.compress(image.tobytes(), 9)).decode()
    return {"width": image.shape[1], "height": image.shape[0], "rgb": packed}


def scene(width: int, height: int, faces: list[tuple[int, int, int]]) -> Image:
    """Faces at x, y px, shrunk or (negative) enlarged by a whole factor, before a gradient.

    Few colors, and blocks of equal pixels, so that the file stays small.
    """
    x1, y1, x2, y2 = FACE
    face = read_image(ROOT / "examples" / "astronaut.jpg")[y1:y2, x1:x2] // 16 * 16
    image = np.zeros((height, width, 3), np.uint8)
    image[:] = (np.arange(height) * 255 // height)[:, None, None]
    for x, y, factor in faces:
        if factor > 0:
            size = (x2 - x1) // factor, (y2 - y1) // factor
            shown = resize(face, size) // 16 * 16
        else:
            shown = face.repeat(-factor, 0).repeat(-factor, 1)
        target = image[y : y + shown.shape[0], x : x + shown.shape[1]]
        target[:] = shown[: target.shape[0], : target.shape[1]]
    return image


def cases() -> list[tuple[str, str, Image, Options]]:
    """The name of each case, its model, image and options."""
    small = scene(202, 151, [(10, 10, 1), (130, 60, 2)])
    large = scene(1283, 901, [(20, 30, 1), (200, 500, 3), (420, 60, -5), (1000, 300, 2)])
    options = Options(threshold=0.3)
    return [
        ("one pass", "extd-lite", small, options),
        ("one pass of nano", "extd-lite-nano", small, options),
        ("a pyramid of odd sizes", "extd-lite", large, options),
        ("no small faces", "extd-lite", large, dataclasses.replace(options, min_face=90)),
        ("tiles", "extd-lite", large, dataclasses.replace(options, tile=1024)),
    ]


def detection() -> dict[str, Any]:
    """The vectors of `detection.json`."""
    found = []
    images: list[Image] = []
    anchors = {}
    for name, model, image, options in cases():
        detector = Detector(model, options=options, threads=1, precision="float")
        anchors[model] = json.loads(detector.network.metadata["anchors"])
        faces = detector.detect(image)
        known = [index for index, other in enumerate(images) if np.array_equal(image, other)]
        images += [] if known else [image]
        found.append(
            {
                "name": name,
                "model": model,
                "image": known[0] if known else len(images) - 1,
                "threshold": options.threshold,
                "minFace": options.min_face,
                "tiled": options.tile is not None,
                "boxes": faces.boxes.round(3).tolist(),
                "scores": faces.scores.round(5).tolist(),
                "landmarks": None if faces.landmarks is None else faces.landmarks.round(3).tolist(),
            }
        )
    return {"anchors": anchors, "images": [encode(image) for image in images], "cases": found}


def resizing() -> dict[str, Any]:
    """The vectors of `resizing.json`."""
    image = np.random.default_rng(0).integers(0, 256, (19, 27, 3), np.uint8)
    return {"image": encode(image), "resized": [encode(resize(image, size)) for size in SIZES]}


def main() -> None:
    argparse.ArgumentParser(description="Write tests/vectors/*.json.").parse_args()
    for name, vectors in (("detection", detection()), ("resizing", resizing())):
        with atomic_write(VECTORS / f"{name}.json") as path:
            path.write_text(json.dumps(vectors) + "\n")


if __name__ == "__main__":
    main()
