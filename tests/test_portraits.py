"""Faces of up to 4,000 px, as in photographs of phones: found once, and covered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from extd.blur import blur_image
from extd.boxes import iou, longer_side
from extd.detector import Detector
from extd.faces import Faces
from extd.media.anonymize import DEFAULT, uncovered

SIDES = [500, 800, *(pytest.param(side, marks=pytest.mark.slow) for side in (1200, 2000, 4000))]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(threads=1, precision="int8")


def compose(path: Path, face: NDArray[np.float32], side: int) -> tuple[Image.Image, list[float]]:
    """A portrait whose face has that longer side in px, and where that face is."""
    with Image.open(path) as image:
        x1, y1, x2, y2 = face.astype(float)
        margin = 0.4 * max(x2 - x1, y2 - y1)
        left, top = max(x1 - margin, 0), max(y1 - margin, 0)
        right, bottom = min(x2 + margin, image.width), min(y2 + margin, image.height)
        factor = side / max(x2 - x1, y2 - y1)
        size = round((right - left) * factor), round((bottom - top) * factor)
        part = image.convert("RGB").resize(
            size, Image.Resampling.BICUBIC, (left, top, right, bottom)
        )
    corner = side // 5, side // 7
    canvas = Image.new("RGB", (size[0] + side // 2, size[1] + side // 4), (96, 120, 140))
    canvas.paste(part, corner)
    x, y = corner[0] - left * factor, corner[1] - top * factor
    return canvas, [x + x1 * factor, y + y1 * factor, x + x2 * factor, y + y2 * factor]


def on_face(faces: Faces, face: list[float]) -> NDArray[np.float32]:
    """The IoU with a face of the boxes that are about it, not about something small within."""
    overlaps = iou(faces.boxes, np.array([face], np.float32))[:, 0]
    return np.asarray(
        overlaps[(overlaps > 0) & (longer_side(faces.boxes) > (face[3] - face[1]) / 3)]
    )


@pytest.mark.filterwarnings("ignore:no int8 instructions")
@pytest.mark.parametrize("side", SIDES)
def test_large_faces_are_found_once_and_covered(
    detector: Detector, examples: Path, tmp_path: Path, side: int
) -> None:
    for name in ("astronaut.jpg", "grace_hopper.jpg"):
        box = detector.detect(examples / name).boxes[0]
        portrait, face = compose(examples / name, box, side)
        path, covered = tmp_path / name, tmp_path / f"covered-{name}"
        portrait.save(path, quality=90)
        found = on_face(detector.detect(path), face)
        assert len(found) == 1, name
        assert found[0] > 0.6, name
        report = blur_image(path, covered, detector)
        assert report.faces >= 1
        # The shape of a head remains; what is left to see counts.
        again = uncovered(detector.detect(covered), detector.detect(path), DEFAULT)
        assert not len(on_face(again, face)), name
