"""How far landmarks are from known ones, in distances between the eyes.

    python benchmarks/landmarks.py dev/labels.jsonl --model extd-lite
    python benchmarks/landmarks.py docs/results/landmarks/marks.jsonl --images dev --model extd-lite
    python benchmarks/landmarks.py docs/results/landmarks/marks.jsonl --teacher dev/labels.jsonl

The first file has a line for each image (`boxes`, `landmarks`) or for each face (`box`,
`landmarks`, null for a point that cannot be told). A face counts if a detection overlaps it by an
IoU of at least 0.5. Profiles, whose eyes are less than a sixth of the box apart, do not count:
their unit would be too short. docs/results/landmarks/marks.jsonl are 100 faces of the dev images,
marked by eye; their own error is about 5 % of the distance between the eyes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from extd.boxes import iou
from extd.detector import Detector

LEAST_IOU = 0.5
LEAST_EYES = 1 / 6
"""Least distance of the eyes, in longer sides of the box."""


class Face(NamedTuple):
    """A known face.

    Attributes:
        image: as the file names it.
        box: float32 [4], xyxy px.
        points: float32 [5, 2] px; NaN where not known.
    """

    image: str
    box: NDArray[np.float32]
    points: NDArray[np.float32]


def read_faces(path: Path) -> Iterator[Face]:
    """The faces of a file that have landmarks."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        boxes = row["boxes"] if "boxes" in row else [row["box"]]
        landmarks = row["landmarks"] if "boxes" in row else [row["landmarks"]]
        for box, points in zip(boxes, landmarks, strict=True):
            if points is not None:
                pairs = points if len(points) == 5 else np.reshape(points, (5, 2))
                known = [pair if pair is not None else (np.nan, np.nan) for pair in pairs]
                yield Face(row["image"], np.array(box, np.float32), np.array(known, np.float32))


def distances(found: NDArray[np.float32], face: Face) -> NDArray[np.float32] | None:
    """Of each point [5] from the known one, in distances between the eyes; None for a profile."""
    eyes = float(np.linalg.norm(face.points[0] - face.points[1]))
    if not eyes >= LEAST_EYES * float((face.box[2:] - face.box[:2]).max()):
        return None
    apart: NDArray[np.float32] = np.linalg.norm(found - face.points, axis=1) / eyes
    return apart


def nearest(
    boxes: NDArray[np.float32], points: NDArray[np.float32], face: Face
) -> NDArray[np.float32] | None:
    """The points [5, 2] of the box that overlaps a face most, if enough."""
    overlaps = iou(face.box[None], boxes)[0]
    best = int(overlaps.argmax()) if len(overlaps) else 0
    return points[best] if overlaps.max(initial=0) >= LEAST_IOU else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("known", type=Path)
    parser.add_argument("--images", type=Path, help="folder of the images; by default the file's")
    parser.add_argument("--model", default="extd-lite")
    parser.add_argument("--teacher", type=Path, help="measure the landmarks of this file instead")
    arguments = parser.parse_args()
    faces = list(read_faces(arguments.known))
    folder = arguments.images or arguments.known.parent
    detector = None if arguments.teacher else Detector(arguments.model)
    if detector is not None and not detector.network.landmarks:
        raise SystemExit(f"{arguments.model} finds no landmarks")
    told: dict[str, list[Face]] = {}
    if arguments.teacher:
        for face in read_faces(arguments.teacher):
            told.setdefault(face.image, []).append(face)
    errors, missed = [], 0
    for image in dict.fromkeys(face.image for face in faces):
        if detector is None:
            boxes = np.array([f.box for f in told.get(image, [])], np.float32).reshape(-1, 4)
            points = np.array([f.points for f in told.get(image, [])], np.float32)
        else:
            found = detector.detect(folder / image)
            assert found.landmarks is not None
            boxes, points = found.boxes, found.landmarks
        for face in (face for face in faces if face.image == image):
            own = nearest(boxes, points, face)
            apart = None if own is None else distances(own, face)
            missed += own is None
            if apart is not None:
                errors.append(apart)
    table = np.array(errors)
    name = arguments.teacher or arguments.model
    print(f"{name}: {len(table)} faces measured, {missed} of {len(faces)} not found")
    print(f"mean {np.nanmean(table):.1%}, median {np.nanmedian(table):.1%} of the eyes' distance")
    parts = ("left eye", "right eye", "nose", "left mouth", "right mouth")
    means = np.nanmean(table, axis=0)
    print(", ".join(f"{part} {mean:.1%}" for part, mean in zip(parts, means, strict=True)))


if __name__ == "__main__":
    main()
