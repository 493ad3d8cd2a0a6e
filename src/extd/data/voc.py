"""Pascal VOC: pictures in `JPEGImages`, an XML file for each in `Annotations`.

Of several classes the one called `face` counts. A difficult object is an ignored region.

VOC counts pixels from 1, and xmax and ymax are the last ones inside: a box of one pixel in the
corner of a picture is 1, 1, 1, 1, and here 0, 0, 1, 1. So xmin and ymin are one more than x1 and
y1, and xmax and ymax are x2 and y2. Tools that count from 0 are off by a pixel at the left and top.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from extd.data.entries import FACE, at, face_classes, from_corners, plain, to_corners, to_size
from extd.data.pixels import Progress, read_bytes, with_sizes
from extd.data.sample import Sample

ANNOTATIONS, PICTURES = "Annotations", "JPEGImages"
SIDES = ("xmin", "ymin", "xmax", "ymax")
FIRST = 1
"""Number of VOC's first pixel."""


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


def read_voc(
    folder: Path, images: Path | None = None, progress: Progress | None = None
) -> list[Sample]:
    """The pictures of all XML files in a folder, by their names.

    Args:
        folder: the XML files.
        images: folder of the pictures; without it `JPEGImages` beside `folder`, or `folder`
            itself where there is none.
        progress: is told how many pictures' sizes were read, where the files do not tell them.

    Raises:
        ValueError: a file cannot be understood, or no class is that of faces.
    """
    if images is None:
        beside = folder.parent / PICTURES
        images = beside if beside.is_dir() else folder
    files = sorted(folder.glob("*.xml"))
    roots = [_parse(file) for file in files]
    classes = {name.text or "" for root in roots for name in root.iterfind("object/name")}
    with at(folder):
        faces = face_classes(classes) if classes else frozenset()
    pictures = [
        _picture(file, root, faces, images) for file, root in zip(files, roots, strict=True)
    ]
    return with_sizes(pictures, folder, progress)


def _parse(file: Path) -> ElementTree.Element:
    data = read_bytes(file)
    with at(file):
        try:
            root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_Builder()))
        except (ElementTree.ParseError, LookupError) as error:
            raise ValueError(f"it is no XML: {error}") from error
        if root.tag != "annotation":
            raise ValueError(f"it holds <{root.tag}>, not <annotation>")
    return root


def _picture(file: Path, root: ElementTree.Element, faces: frozenset[str], images: Path) -> Sample:
    """What one file says; the size is 0 where it does not tell it."""
    boxes: list[list[float]] = []
    ignore: list[list[float]] = []
    with at(file):
        width, height = (root.findtext(f"size/{side}") or "0" for side in ("width", "height"))
        # Some tools write 0 for what they do not know.
        known = float(width) != 0 and float(height) != 0
        size = (to_size(float(width)), to_size(float(height))) if known else (0, 0)
        for number, item in enumerate(root.iterfind("object"), 1):
            with at(f"object {number}"):
                name = item.findtext("name")
                if name is None:
                    raise ValueError("it has no name")
                if name not in faces:
                    continue
                xmin, ymin, xmax, ymax = (_number(item, side) for side in SIDES)
                difficult = float(item.findtext("difficult") or 0) != 0
                own = ignore if difficult else boxes
                own.append([xmin - FIRST, ymin - FIRST, xmax, ymax])
        path = images / ((root.findtext("filename") or "").strip() or f"{file.stem}.jpg")
        source = (root.findtext("source/database") or "").strip()
        return Sample(path, *size, from_corners(boxes), from_corners(ignore), source)


def _number(item: ElementTree.Element, side: str) -> float:
    text = item.findtext(f"bndbox/{side}")
    if text is None:
        raise ValueError(f"its bndbox has no {side}")
    return float(text)


def place_voc(picture: Sample, below: Path) -> Path:
    """Where a picture lies in the layout, which has no folders for them."""
    return Path(PICTURES, below.name)


def write_voc(pictures: Sequence[Sample], folder: Path) -> None:
    """Write the XML files for pictures that are in their place in `folder`, and a list of them.

    Numbers have decimals where the boxes do: they are exact to a billionth of a pixel.
    """
    (folder / ANNOTATIONS).mkdir(parents=True, exist_ok=True)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        root = _element(picture)
        ElementTree.indent(root)
        data = ElementTree.tostring(root, encoding="utf-8")
        (folder / ANNOTATIONS / f"{picture.path.stem}.xml").write_bytes(data + b"\n")
    stems = "".join(f"{picture.path.stem}\n" for picture in pictures)
    (lists / "trainval.txt").write_text(stems, encoding="utf-8", newline="")


def _element(picture: Sample) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _add(root, "folder", PICTURES)
    _add(root, "filename", picture.path.name)
    _add(_add(root, "source"), "database", picture.source)
    size = _add(root, "size")
    for name, length in (("width", picture.width), ("height", picture.height), ("depth", 3)):
        _add(size, name, str(length))
    _add(root, "segmented", "0")
    for difficult, boxes in (("0", picture.boxes), ("1", picture.ignore)):
        for x1, y1, x2, y2 in to_corners(boxes):
            item = _add(root, "object")
            _add(item, "name", FACE)
            _add(item, "pose", "Unspecified")
            _add(item, "truncated", "0")
            _add(item, "difficult", difficult)
            box = _add(item, "bndbox")
            corners = (round(x1 + FIRST, 9), round(y1 + FIRST, 9), x2, y2)
            for side, value in zip(SIDES, corners, strict=True):
                _add(box, side, plain(value))
    return root


def _add(parent: ElementTree.Element, tag: str, text: str = "") -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    child.text = text or None
    return child
