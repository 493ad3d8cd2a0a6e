"""Pascal VOC: images in `JPEGImages`, an XML file for each in `Annotations`.

Of several classes the one called `face` counts. A difficult object is an ignored region.

VOC counts pixels from 1, and xmax and ymax are the last ones inside: a box of one pixel in the
corner of an image is 1, 1, 1, 1, and here 0, 0, 1, 1. So xmin and ymin are one more than x1 and
y1, and xmax and ymax equal x2 and y2. Files of tools that count from 0 are off by a pixel at the
left and top.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from extd.data.sample import (
    ReadOptions,
    Sample,
    at,
    face_classes,
    from_xyxy,
    plain,
    to_rows,
    to_size,
    write_text,
)

ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"
SIDES = ("xmin", "ymin", "xmax", "ymax")
FIRST = 1
"""Number of VOC's first pixel."""
ANNOTATION = """\
<?xml version="1.0" encoding="utf-8"?>
<annotation>
  <folder>JPEGImages</folder>
  <filename>{name}</filename>
  <source><database>{source}</database></source>
  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
  <segmented>0</segmented>{objects}
</annotation>
"""
OBJECT = """
  <object>
    <name>face</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>{}</difficult>
    <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
  </object>"""


def find_voc(path: Path) -> Path | None:
    """The folder of XML files that a path means: itself, or its `Annotations`."""
    for folder in (path / ANNOTATIONS, path):
        if any(folder.glob("*.xml")):
            return folder
    return None


class _Builder(ElementTree.TreeBuilder):
    """Refuses document types: their entities can grow without bound or name other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(
            f"it declares a document type ({name}), which is not read; remove <!DOCTYPE"
        )


def read_voc(folder: Path, options: ReadOptions) -> list[Sample]:
    """The samples of all XML files in a folder, sorted by name; see `datasets.read_dataset`.

    Without `images`, the images are in `JPEGImages` beside `folder`, or else in `folder` itself.
    """
    images = options.images
    if images is None:
        beside = folder.parent / IMAGES
        images = beside if beside.is_dir() else folder
    roots = {file: _parse(file) for file in sorted(folder.glob("*.xml"))}
    classes = {name.text or "" for root in roots.values() for name in root.iterfind("object/name")}
    with at(folder):
        faces = face_classes(classes) if classes else frozenset()
    return [_sample(file, root, faces, images) for file, root in roots.items()]


def _parse(file: Path) -> ElementTree.Element:
    data = file.read_bytes()
    with at(file):
        try:
            root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_Builder()))
        except (ElementTree.ParseError, LookupError) as error:
            raise ValueError(f"it is not XML: {error}") from error
        if root.tag != "annotation":
            raise ValueError(f"it holds <{root.tag}>, not <annotation>")
    return root


def _sample(file: Path, root: ElementTree.Element, faces: frozenset[str], images: Path) -> Sample:
    """What one file says; the size is 0 where it does not give it."""
    boxes: list[list[float]] = []
    ignore: list[list[float]] = []
    with at(file):
        width, height = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        # Some tools write 0 for what they do not know.
        size = (to_size(width), to_size(height)) if width and height else (0, 0)
        for number, item in enumerate(root.iterfind("object"), 1):
            with at(f"object {number}"):
                name = item.findtext("name")
                if name is None:
                    raise ValueError("it has no name")
                if name in faces:
                    corners = {side.tag: side.text or "" for side in item.iterfind("bndbox/*")}
                    xmin, ymin, xmax, ymax = (float(corners[side]) for side in SIDES)
                    difficult = float(item.findtext("difficult") or 0) != 0
                    box = [xmin - FIRST, ymin - FIRST, xmax, ymax]
                    (ignore if difficult else boxes).append(box)
        path = images / ((root.findtext("filename") or "").strip() or f"{file.stem}.jpg")
        source = (root.findtext("source/database") or "").strip()
        return Sample(path, *size, from_xyxy(boxes), from_xyxy(ignore), source)


def place_voc(sample: Sample, name: Path) -> Path:
    """Where an image is in the layout, which has no subfolders; see `datasets.Format`."""
    return Path(IMAGES, name.name)


def write_voc(samples: Sequence[Sample], folder: Path) -> None:
    """Write XML files for images that are in their place in `folder`, and a list of them.

    Numbers have decimals where the boxes do: they are exact to a billionth of a pixel.
    """
    for sample in samples:
        write_text(folder / ANNOTATIONS / f"{sample.path.stem}.xml", _annotation(sample))
    stems = "".join(f"{sample.path.stem}\n" for sample in samples)
    write_text(folder / "ImageSets" / "Main" / "trainval.txt", stems)


def _annotation(sample: Sample) -> str:
    name, source = escape(sample.path.name), escape(sample.source)
    try:
        f"{name}{source}".encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the name or source of {name} is not UTF-8, which Pascal VOC needs; "
            "change it, in the labels too"
        ) from error
    objects = ""
    for difficult, boxes in enumerate((sample.boxes, sample.ignore)):
        for x1, y1, x2, y2 in to_rows(boxes):
            corners = (round(x1 + FIRST, 9), round(y1 + FIRST, 9), x2, y2)
            objects += OBJECT.format(difficult, *map(plain, corners))
    size = {"width": sample.width, "height": sample.height}
    return ANNOTATION.format(name=name, source=source, objects=objects, **size)
