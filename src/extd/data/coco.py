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
from extd.data.entries import (
    FACE,
    at,
    face_classes,
    from_corner_and_size,
    read_text,
    relative_name,
    to_corner_and_size,
    to_name,
    to_size,
)
from extd.data.pixels import Progress, with_sizes
from extd.data.sample import Sample
from extd.files import atomic_write

TRIED = 100
"""Pictures that are looked for to find their folder."""


def find_coco(path: Path) -> Path | None:
    """The JSON file that a path means: itself, or the only one in a folder or its `annotations`.

    Raises:
        ValueError: `annotations` has several files, or several of instances.
    """
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    found = sorted(path.glob("annotations/*.json"))
    found = [one for one in found if one.name.startswith("instances")] or found
    if len(found) > 1:
        raise ValueError(f"{path} is divided; name one of {', '.join(map(str, found))}")
    found = found or [*path.glob("*.json")]
    return found[0] if len(found) == 1 else None


def read_coco(
    path: Path, images: Path | None = None, progress: Progress | None = None
) -> list[Sample]:
    """The pictures of a COCO file.

    Args:
        path: the file.
        images: folder that `file_name` is relative to. Without it, the folders beside the file
            are tried that COCO's layout and common tools use.
        progress: is told how many pictures' sizes were read, where the file does not tell them.

    Raises:
        FileNotFoundError: there is no such file, or no folder with its pictures was found.
        ValueError: an entry cannot be understood, or no category is that of faces.
    """
    text = read_text(path)
    with at(path):
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it is no COCO file: it holds no object with images and annotations")
        entries, annotations = content["images"], content["annotations"]
        if not isinstance(entries, list) or not isinstance(annotations, list):
            raise ValueError("images and annotations are to be lists")
        categories = {one["id"]: str(one["name"]) for one in content["categories"]}
        faces = face_classes(categories.values())
    names: dict[object, str] = {}
    rows: dict[object, tuple[list[Any], list[Any]]] = {}
    for number, entry in enumerate(entries):
        with at(path, f"images[{number}]"):
            if entry["id"] in names:
                raise ValueError(f"the id {entry['id']!r} was given before")
            names[entry["id"]] = to_name(entry["file_name"])
            rows[entry["id"]] = ([], [])
    for number, annotation in enumerate(annotations):
        with at(path, f"annotations[{number}]"):
            image, category = annotation["image_id"], annotation["category_id"]
            if image not in rows or category not in categories:
                raise ValueError(f"there is no image of id {image!r} or no category {category!r}")
            if categories[category] in faces:
                box = annotation["bbox"]
                from_corner_and_size([box])
                rows[image][1 if annotation.get("iscrowd") else 0].append(box)
    folder = _find_images(path, list(names.values())) if images is None else images
    pictures = []
    for number, entry in enumerate(entries):
        with at(path, f"images[{number}]"):
            boxes, ignore = map(from_corner_and_size, rows[entry["id"]])
            size = [to_size(entry[side]) if entry.get(side) else 0 for side in ("width", "height")]
            if 0 in size:
                size = [0, 0]
            source = str(entry.get("source") or "")
            name = names[entry["id"]]
            pictures.append(Sample(folder / name, size[0], size[1], boxes, ignore, source))
    return with_sizes(pictures, path, progress)


def _find_images(path: Path, names: Sequence[str]) -> Path:
    """The folder near a COCO file in which one of the first pictures is."""
    root = path.parent.parent
    # As train2017 for instances_train2017.json.
    split = path.stem.rsplit("_", 1)[-1]
    beside = [path.parent, path.parent / "images", path.parent / split]
    around = [root / "images" / split, root / "images", root / split, root]
    folders = beside + around
    for folder in folders:
        if any((folder / name).is_file() for name in names[:TRIED]):
            return folder
    if not names:
        return path.parent
    raise FileNotFoundError(
        f"no picture of {path}, as {names[0]!r}, is in {', '.join(map(str, folders))}; "
        "name the folder that holds them, as with extd data convert --images"
    )


def write_coco(pictures: Iterable[Sample], path: Path) -> None:
    """Write a COCO file; boxes are exact to a millionth of a pixel.

    An image has its `source` as a key of its own, which COCO does not know.
    """
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for picture in pictures:
        images.append(
            {
                "id": len(images) + 1,
                "file_name": relative_name(picture.path, path.parent),
                "width": picture.width,
                "height": picture.height,
                "source": picture.source,
            }
        )
        for crowd, boxes in enumerate((picture.boxes, picture.ignore)):
            for box, size in zip(to_corner_and_size(boxes), area(boxes).tolist(), strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": len(images),
                        "category_id": 1,
                        "bbox": box,
                        "area": round(size, 2),
                        "iscrowd": crowd,
                    }
                )
    content = {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": FACE}],
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content), encoding="utf-8")
