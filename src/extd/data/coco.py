"""COCO's instances: one JSON file of images, annotations and categories.

Of several categories those of faces count. A crowd (`iscrowd`) is an ignored region, and so
is what other tools mark by `ignore`. Boxes are x, y, width, height in px; where there is none, the
bounds of the polygons or the mask count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extd.boxes import area
from extd.data.image_paths import find_folder, find_image
from extd.data.sample import (
    FACE,
    LIMIT,
    ReadOptions,
    Sample,
    at,
    face_classes,
    from_xywh,
    read_start,
    read_text,
    relative_name,
    to_name,
    to_size,
    to_xywh,
    write_text,
)

OTHERS = re.compile(r'\s*\[|\s*\{\s*"(image|path)"\s*:|.*"shapes"\s*:', re.DOTALL)
"""How JSON files of other formats begin: Label Studio's, `labels.jsonl` and labelme's."""
ROBOFLOW = "_annotations.coco.json"
"""Name of Roboflow's files, one in each folder of images."""
NOTES = "notes.json"
"""What Label Studio adds to a YOLO set."""


def find_coco(path: Path) -> Path | None:
    """The JSON file that a path means: itself, or the only one in a folder or its `annotations`."""
    if path.is_file():
        return path if _is_coco(path) else None
    found = sorted(filter(_is_coco, path.glob("annotations/*.json")))
    found = [one for one in found if one.name.startswith("instances")] or found
    found = found or sorted(path.glob(f"*/{ROBOFLOW}"))
    if len(found) > 1:
        raise ValueError(f"{path} is divided; name one of {', '.join(map(str, found))}")
    found = found or [one for one in path.glob("*.json") if one.name != NOTES]
    return found[0] if len(found) == 1 and _is_coco(found[0]) else None


def _is_coco(path: Path) -> bool:
    return path.suffix.lower() == ".json" and not OTHERS.match(read_start(path))


def read_coco(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a COCO file; see `datasets.read_dataset`.

    Without `options.images`, the folders are tried that COCO's layout and common tools use.
    """
    text = read_text(path)
    with at(path):
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it is not COCO: it holds no object with images and annotations")
        entries, annotations = content["images"], content["annotations"]
        if not isinstance(entries, list) or not isinstance(annotations, list):
            raise ValueError("images and annotations must be lists")
        categories = _categories(content.get("categories"), annotations)
        faces = face_classes(categories.values(), options.classes) if categories else frozenset()
    known: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        with options.entry(path, f"images[{number}]"):
            to_name(entry["file_name"])
            if (key := _key(entry["id"])) in known:
                raise ValueError(f"the id {entry['id']!r} was given before")
            known[key] = entry
    rows: dict[str, tuple[list[Any], list[Any]]] = {key: ([], []) for key in known}
    for number, annotation in enumerate(annotations):
        with options.entry(path, f"annotations[{number}]"):
            image = _key(annotation["image_id"])
            if image not in rows:
                raise ValueError(f"there is no image of id {annotation['image_id']!r}")
            category = _key(annotation.get("category_id"))
            if category not in categories:
                raise ValueError(f"there is no category {annotation['category_id']!r}")
            if categories[category] in faces:
                ignored = bool(annotation.get("iscrowd") or annotation.get("ignore"))
                rows[image][ignored].append(_box(annotation))
    images = options.images
    if images is None:
        images = _find_images(path, [entry["file_name"] for entry in known.values()])
    samples = []
    for key, entry in known.items():
        with at(path, f"the image {entry['file_name']}"):
            sized = entry.get("width") and entry.get("height")
            size = (to_size(entry["width"]), to_size(entry["height"])) if sized else (0, 0)
            boxes, ignore = map(from_xywh, rows[key])
            source = str(entry.get("source") or "")
            found = find_image(images, entry["file_name"])
            samples.append(Sample(found, *size, boxes, ignore, source))
    return samples


def _key(value: object) -> str:
    """An id as text: tools write 7, 7.0 and "7" for the same one."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _categories(given: object, annotations: Sequence[Any]) -> dict[str, str]:
    """The names of the categories by their ids, which are the names where none are given."""
    if isinstance(given, list) and given:
        return {_key(one["id"]): str(one["name"]) for one in given}
    ids = [_key(one.get("category_id")) for one in annotations if isinstance(one, dict)]
    return {one: one for one in ids}


def _box(annotation: dict[str, Any]) -> list[float]:
    """The box of an annotation, or else the bounds of its segmentation: x, y, width, height."""
    if given := annotation.get("bbox"):
        # Some tools write numbers as text.
        box = [float(value) if isinstance(value, str) else value for value in given]
        from_xywh([box])
        return box
    shape = annotation.get("segmentation")
    if isinstance(shape, dict):
        return mask_bounds(shape["counts"], *shape["size"])
    if not shape:
        raise ValueError("it has neither a bbox nor a segmentation")
    points = [value for polygon in shape for value in polygon]
    x1, y1, x2, y2 = min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
    box = [x1, y1, x2 - x1, y2 - y1]
    from_xywh([box])
    return box


def mask_bounds(counts: str | Sequence[int], height: object, width: object) -> list[float]:
    """x, y, width and height in px of a mask of run lengths (RLE), which go down the columns.

    `counts` are the lengths of the runs outside and inside in turn, or their compressed form.

    Raises:
        ValueError: the mask is empty, or is no mask of this size.
    """
    rows, columns = to_size(height), to_size(width)
    runs = np.array(_decompress(counts) if isinstance(counts, str) else counts, np.int64)
    ends = runs.cumsum()
    inside = (np.arange(len(runs)) % 2 == 1) & (runs > 0)
    first, last = (ends - runs)[inside], ends[inside] - 1
    if (runs < 0).any() or len(last) == 0 or last[-1] >= rows * columns:
        raise ValueError(f"its mask is empty, or not of {columns} x {rows} px")
    x1, x2 = first[0] // rows, last[-1] // rows + 1
    # A run that goes on in the next column has been to the lower border and the upper one.
    whole = bool((first // rows != last // rows).any())
    y1, y2 = (0, rows) if whole else ((first % rows).min(), (last % rows).max() + 1)
    return [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]


def _decompress(text: str) -> list[int]:
    """Numbers of five bits a character, each but the first three relative to the last but one."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        value += (code & 31) << shift
        shift += 5
        if not 0 <= code < 64 or value > LIMIT:
            raise ValueError("the counts of its mask are not compressed run lengths")
        if not code & 32:
            value -= 1 << shift if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


def _find_images(path: Path, names: Sequence[str]) -> Path:
    """The folder near a COCO file in which one of the first images is."""
    root = path.parent.parent
    # As train2017 for instances_train2017.json.
    split = path.stem.rsplit("_", 1)[-1]
    beside = [path.parent, path.parent / "images", path.parent / split]
    folders = [*beside, root / "images" / split, root / "images", root / split, root]
    # The folder of the set; one further up may be anything.
    whole = root if path.parent.name == "annotations" else path.parent
    return find_folder(path, names, folders, whole)


def write_coco(samples: Sequence[Sample], path: Path) -> None:
    """Write a COCO file; boxes are exact to a millionth of a pixel."""
    names = [relative_name(sample.path, path.parent) for sample in samples]
    write_text(path, coco_json(zip(names, samples, strict=True)))


def coco_json(samples: Iterable[tuple[str, Sample]]) -> str:
    """Samples with the names of their images as one COCO object.

    Annotations of detections have a `score`, as COCO's results do. The `source` of an image is a
    key that COCO does not know.
    """
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for name, sample in samples:
        image = {"id": len(images) + 1, "file_name": name}
        image |= {"width": sample.width, "height": sample.height}
        images.append(image | ({"source": sample.source} if sample.source else {}))
        scores = [] if sample.scores is None else [float(str(s)) for s in sample.scores.round(4)]
        for crowd, boxes in enumerate((sample.boxes, sample.ignore)):
            sizes = area(boxes).round(2).tolist()
            for row, (box, size) in enumerate(zip(to_xywh(boxes), sizes, strict=True)):
                annotation: dict[str, object] = {"id": len(annotations) + 1}
                annotation |= {"image_id": len(images), "category_id": 1}
                annotation |= {"bbox": box, "area": size, "iscrowd": crowd}
                if scores and not crowd:
                    annotation["score"] = scores[row]
                annotations.append(annotation)
    content = {
        # Some versions of pycocotools need it.
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": FACE}],
    }
    return json.dumps(content)
