"""Pascal VOC: images in `JPEGImages`, an XML file for each in `Annotations`.

Of several classes those of faces count. A difficult object is an ignored region.

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

from extd.data.image_paths import find_own
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
OTHER_IMAGES = ("images", "Images", "imgs")
"""What tools call the folder of images beside that of annotations."""
CVAT = "annotations.xml"
"""A file of all images, in another format."""
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
    """The folder of XML files that a path means: itself, or its `Annotations` in any case."""
    inside = [one for one in path.glob("*") if one.name.casefold() == ANNOTATIONS.casefold()]
    for folder in (*sorted(inside), path):
        if any(file.name != CVAT for file in folder.glob("*.xml")):
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

    Without `options.images`, the images are in `JPEGImages` beside `folder`, or in `images` beside
    `Annotations`, or else in `folder` itself.
    """
    images = options.images or _find_images(folder)
    roots = {}
    for file in sorted(folder.glob("*.xml")):
        if file.name != CVAT:
            with options.entry(file, "the whole file"):
                roots[file] = parse_xml(file, "annotation")
    classes = {name.text or "" for root in roots.values() for name in root.iterfind("object/name")}
    with at(folder):
        faces = face_classes(classes, options.classes) if classes else frozenset()
    samples = []
    for file, root in roots.items():
        with options.entry(file, "the whole file"):
            samples.append(_sample(file, root, faces, images, options))
    return samples


def _find_images(folder: Path) -> Path:
    usual = folder.name.casefold() == ANNOTATIONS.casefold()
    for name in (IMAGES, *OTHER_IMAGES) if usual else (IMAGES,):
        if (folder.parent / name).is_dir():
            return folder.parent / name
    return folder


def parse_xml(file: Path, tag: str) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        ValueError: it is not XML, has a document type, or its root is not of that tag.
    """
    data = file.read_bytes()
    with at(file):
        try:
            root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_Builder()))
        except (ElementTree.ParseError, LookupError) as error:
            raise ValueError(f"it is not XML: {error}") from error
        if root.tag != tag:
            raise ValueError(f"it holds <{root.tag}>, not <{tag}>")
    return root


def _sample(
    file: Path, root: ElementTree.Element, faces: frozenset[str], images: Path, options: ReadOptions
) -> Sample:
    """What one file says; the size is 0 where it does not give it."""
    boxes: list[list[float]] = []
    ignore: list[list[float]] = []
    width, height = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    # Some tools write 0 for what they do not know.
    size = (to_size(width), to_size(height)) if width and height else (0, 0)
    for number, item in enumerate(root.iterfind("object"), 1):
        with options.entry(file, f"object {number}"):
            name = item.findtext("name")
            if name is None:
                raise ValueError("it has no name")
            if name in faces:
                corners = {side.tag: side.text or "" for side in item.iterfind("bndbox/*")}
                xmin, ymin, xmax, ymax = (float(corners[side]) for side in SIDES)
                box = [xmin - FIRST, ymin - FIRST, xmax, ymax]
                from_xyxy([box])
                (ignore if _is_true(item.findtext("difficult")) else boxes).append(box)
    path = find_own(images, (root.findtext("filename") or "").strip(), file.stem)
    source = (root.findtext("source/database") or "").strip()
    return Sample(path, *size, from_xyxy(boxes), from_xyxy(ignore), source)


def _is_true(text: str | None) -> bool:
    """Whether an object is difficult; some tools write words such as Unspecified."""
    try:
        return float(text or 0) != 0
    except ValueError:
        return (text or "").strip().casefold() in {"true", "yes"}


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
