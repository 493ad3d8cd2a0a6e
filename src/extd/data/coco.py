"""COCO's instances: one JSON file of images, annotations and categories.

Of several categories the one called `face` counts. A crowd (`iscrowd`) is an ignored region.
Boxes are x, y, width, height in px.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from extd.boxes import area
from extd.data.sample import (
    FACE,
    ReadOptions,
    Sample,
    at,
    face_classes,
    from_xywh,
    read_text,
    relative_name,
    to_name,
    to_size,
    to_xywh,
    write_text,
)

TRIED = 100
"""Images to look for when searching for their folder."""


def find_coco(path: Path) -> Path | None:
    """The JSON file that a path means: itself, or the only one in a folder or its `annotations`."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    found = sorted(path.glob("annotations/*.json"))
    found = [one for one in found if one.name.startswith("instances")] or found
    if len(found) > 1:
        raise ValueError(f"{path} is divided; name one of {', '.join(map(str, found))}")
    found = found or [*path.glob("*.json")]
    return found[0] if len(found) == 1 else None


def read_coco(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a COCO file; see `datasets.read_dataset`.

    Without `images`, the folders are tried that COCO's layout and common tools use.
    """
    text = read_text(path)
    with at(path):
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it is not COCO: it holds no object with images and annotations")
        entries, annotations = content["images"], content["annotations"]
        if not isinstance(entries, list) or not isinstance(annotations, list):
            raise ValueError("images and annotations must be lists")
        categories = {one["id"]: str(one["name"]) for one in content["categories"]}
        faces = face_classes(categories.values())
    rows: dict[object, tuple[list[Any], list[Any]]] = {}
    for number, entry in enumerate(entries):
        with at(path, f"images[{number}]"):
            to_name(entry["file_name"])
            if entry["id"] in rows:
                raise ValueError(f"the id {entry['id']!r} was given before")
            rows[entry["id"]] = ([], [])
    for number, annotation in enumerate(annotations):
        with at(path, f"annotations[{number}]"):
            image, category = annotation["image_id"], annotation["category_id"]
            if image not in rows or category not in categories:
                raise ValueError(f"there is no image of id {image!r} or no category {category!r}")
            if categories[category] in faces:
                from_xywh([annotation["bbox"]])
                rows[image][bool(annotation.get("iscrowd"))].append(annotation["bbox"])
    images = options.images
    if images is None:
        images = _find_images(path, [entry["file_name"] for entry in entries])
    samples = []
    for number, entry in enumerate(entries):
        with at(path, f"images[{number}]"):
            known = entry.get("width") and entry.get("height")
            size = (to_size(entry["width"]), to_size(entry["height"])) if known else (0, 0)
            boxes, ignore = map(from_xywh, rows[entry["id"]])
            source = str(entry.get("source") or "")
            samples.append(Sample(images / entry["file_name"], *size, boxes, ignore, source))
    return samples


def _find_images(path: Path, names: Sequence[str]) -> Path:
    """The folder near a COCO file in which one of the first images is."""
    root = path.parent.parent
    # As train2017 for instances_train2017.json.
    split = path.stem.rsplit("_", 1)[-1]
    beside = [path.parent, path.parent / "images", path.parent / split]
    folders = [*beside, root / "images" / split, root / "images", root / split, root]
    for folder in folders:
        if any((folder / name).is_file() for name in names[:TRIED]):
            return folder
    if not names:
        return path.parent
    raise FileNotFoundError(
        f"no image of {path}, such as {names[0]!r}, is in {', '.join(map(str, folders))}; "
        "name their folder, as with extd data convert --images"
    )


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
