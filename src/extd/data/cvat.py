"""CVAT's own XML, "CVAT for images": one file of all images and their shapes.

Of several labels those of faces count. A shape gives its bounds; points and lines are skipped.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from extd.data.image_paths import find_folder, find_image
from extd.data.sample import ReadOptions, Sample, at, face_classes, from_xyxy, to_name, to_size
from extd.data.voc import CVAT, parse_xml

AREAS = frozenset({"box", "polygon", "ellipse", "mask"})
"""Shapes that have an area."""


def find_cvat(path: Path) -> Path | None:
    """The XML file that a path means: itself, or `annotations.xml` in a folder."""
    if path.is_file():
        return path if path.suffix.lower() == ".xml" else None
    return path / CVAT if (path / CVAT).is_file() else None


def read_cvat(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a file; see `datasets.read_dataset`.

    Without `options.images`, the images are in `images` beside the file, or beside it.
    """
    root = parse_xml(path, "annotations")
    with at(path):
        if root.find("track") is not None:
            raise ValueError("it is about a video; export it as 'CVAT for images'")
        entries = root.findall("image")
        names = [to_name(entry.get("name")) for entry in entries]
        shapes = [shape for entry in entries for shape in entry if shape.tag in AREAS]
        labels = {shape.get("label") or "" for shape in shapes}
        faces = face_classes(labels, options.classes) if labels else frozenset()
    images = options.images
    if images is None:
        folders = [path.parent / "images", path.parent]
        images = find_folder(path, names, folders, path.parent)
    samples = []
    for name, entry in zip(names, entries, strict=True):
        boxes: list[list[float]] = []
        with options.entry(path, name):
            width, height = (to_size(float(entry.get(side) or 0)) for side in ("width", "height"))
            for number, shape in enumerate(entry, 1):
                with options.entry(path, f"{name}, shape {number}"):
                    if shape.tag in AREAS and (shape.get("label") or "") in faces:
                        from_xyxy([box := _bounds(shape)])
                        boxes.append(box)
            found = find_image(images, name)
            samples.append(Sample(found, width, height, from_xyxy(boxes), from_xyxy([])))
    return samples


def _bounds(shape: Element) -> list[float]:
    """x1, y1, x2, y2 of a shape, which is not rotated."""
    if shape.tag == "polygon":
        points = [point.split(",") for point in shape.attrib["points"].split(";")]
        xs, ys = ([float(point[axis]) for point in points] for axis in (0, 1))
        return [min(xs), min(ys), max(xs), max(ys)]
    if shape.tag == "box":
        return [float(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")]
    if shape.tag == "ellipse":
        x, y, rx, ry = (float(shape.attrib[name]) for name in ("cx", "cy", "rx", "ry"))
        return [x - rx, y - ry, x + rx, y + ry]
    left, top, width, height = (
        float(shape.attrib[name]) for name in ("left", "top", "width", "height")
    )
    return [left, top, left + width, top + height]
