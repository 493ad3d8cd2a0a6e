"""Results as other programs read them: COCO, YOLO and WIDER FACE."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from extd.faces import Faces
from extd.files import atomic_write


def coco_json(results: Iterable[tuple[str, Faces]]) -> str:
    """Results with the names of their pictures as one COCO object.

    It has `images`, `annotations` and `categories`, as COCO's labels do, and each annotation has a
    `score`: its list of annotations alone is what COCO calls results. Boxes are x, y, width,
    height, to 0.01 px.
    """
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for name, faces in results:
        number = len(images) + 1
        size = {"width": faces.width, "height": faces.height}
        images.append({"id": number, "file_name": name, **size})
        for (x, y, width, height), score in zip(
            _corner_and_size(faces), faces.scores.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [x, y, width, height],
                    "area": round(width * height, 2),
                    "iscrowd": 0,
                    "score": round(score, 4),
                }
            )
    categories = [{"id": 1, "name": "face"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def yolo_lines(faces: Faces) -> str:
    """A line `0 x y width height` a face: centre and size as shares of the picture's size.

    These are labels, which have no score. A picture without faces has no lines.
    """
    boxes = faces.boxes.astype(np.float64)
    middle, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    shares = np.concatenate([middle, sides], axis=1) / ([faces.width, faces.height] * 2)
    return "".join("0 " + " ".join(f"{value:.8f}" for value in row) + "\n" for row in shares)


def wider_lines(name: Path, faces: Faces) -> str:
    """WIDER FACE's detections of one picture: its name, their number, a line `x y w h score` each.

    WIDER's pictures are JPEG, so the name ends in `.jpg` whatever `name` ends in.
    """
    rows = [
        " ".join(map(str, row)) + f" {score:.6f}"
        for row, score in zip(_corner_and_size(faces), faces.scores.tolist(), strict=True)
    ]
    return "\n".join([name.with_suffix(".jpg").as_posix(), str(len(faces)), *rows]) + "\n"


def text_files(folder: Path, names: Sequence[Path]) -> list[Path]:
    """Where the lines of each picture go, as YOLO and WIDER have it: `a/b.txt` for `a/b.jpg`.

    Raises:
        ValueError: two pictures are alike but for the suffix, so that one file is both's.
    """
    owners: dict[str, Path] = {}
    for name in names:
        # Some file systems do not tell letter cases apart.
        key = str(name.with_suffix("")).casefold()
        if key in owners:
            raise ValueError(f"{owners[key]} and {name} would have the same text file; rename one")
        owners[key] = name
    return [folder / name.with_suffix(".txt") for name in names]


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole, replacing what was there. Folders are made."""
    with atomic_write(path) as partial:
        # File names need not be UTF-8.
        partial.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def _corner_and_size(faces: Faces) -> list[list[float]]:
    """Rows of x, y, width, height, to 0.01 px."""
    boxes = faces.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    rows: list[list[float]] = boxes.round(2).tolist()
    return rows
