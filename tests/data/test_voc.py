from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from extd.data.sample import Sample
from extd.data.voc import find_voc, read_voc, write_voc


def annotation(objects: str, name: str = "a.jpg", size: str = "64 48") -> str:
    width, height = size.split()
    return (
        f"<annotation><filename>{name}</filename><source><database>street</database></source>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        f"{objects}</annotation>"
    )


def item(corners: str, name: str = "face", difficult: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners.split(), strict=False)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name>{difficult}<bndbox>{box}</bndbox></object>"


def write(root: Path, text: str | bytes, name: str = "a.xml") -> Path:
    """Put a file into `Annotations`, which is returned."""
    folder = root / "Annotations"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_pixels_are_counted_from_one_and_the_last_is_inside(tmp_path: Path) -> None:
    objects = item("1 1 64 48") + item("10.5 20 10.5 20", difficult="<difficult>1</difficult>")
    (tmp_path / "JPEGImages").mkdir()
    (one,) = read_voc(write(tmp_path, annotation(objects)))
    assert one.path == tmp_path / "JPEGImages" / "a.jpg"
    assert (one.width, one.height, one.source) == (64, 48, "street")
    assert one.boxes.tolist() == [[0, 0, 64, 48]]
    assert one.ignore.tolist() == [[9.5, 19, 10.5, 20]]


def test_other_classes_are_no_faces(tmp_path: Path) -> None:
    folder = write(tmp_path, annotation(item("1 1 5 5", "car") + item("1 1 9 9", "Face")))
    assert read_voc(folder)[0].boxes.tolist() == [[0, 0, 9, 9]]
    write(tmp_path, annotation(item("1 1 5 5", "head")))
    assert read_voc(folder)[0].boxes.tolist() == [[0, 0, 5, 5]]
    write(tmp_path, annotation(item("1 1 5 5", "car")), "b.xml")
    with pytest.raises(
        ValueError, match=r"Annotations: none of its classes is called 'face'.*'car'"
    ):
        read_voc(folder)


def test_files_beside_their_pictures_are_read(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.xml").write_text(annotation("", f"{name}.png", "0 0"))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((10, 20, 3), np.uint8))
    assert find_voc(tmp_path) == tmp_path
    pictures = read_voc(tmp_path)
    assert [one.path.name for one in pictures] == ["a.png", "b.png", "c.png"]
    assert [(one.width, one.height) for one in pictures] == [(20, 10), (0, 0), (0, 0)]
    assert read_voc(tmp_path, tmp_path)[0].path == tmp_path / "a.png"


def test_a_file_may_say_little(tmp_path: Path) -> None:
    folder = write(tmp_path, "<annotation/>", "x.y.xml")
    cv2.imwrite(str(tmp_path / "x.y.jpg"), np.zeros((10, 20, 3), np.uint8))
    (one,) = read_voc(folder, tmp_path)
    assert (one.path, one.width, one.height) == (tmp_path / "x.y.jpg", 20, 10)
    assert len(one.boxes) == len(one.ignore) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "it is no XML: no element found"),
        ('<?xml version="1.0" encoding="none"?><annotation/>', "it is no XML: "),
        ("<svg><object/></svg>", "it holds <svg>, not <annotation>"),
        (annotation("<object/>"), "object 1: it has no name"),
        (annotation(item("1 1 5")), "object 1: its bndbox has no ymax"),
        (annotation(item("1 1 5 5") + item("1 1 5 x")), "object 2: could not convert .*'x'"),
        (annotation(item("1 1 nan 5")), ".*nan.* is no box"),
        (annotation("", size="wide 48"), "could not convert string to float: 'wide'"),
        (annotation("", size="-3 48"), r"a size of -3\.0 px"),
    ],
)
def test_bad_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"a\.xml: {message}"):
        read_voc(write(tmp_path, text))


BOMB = (
    '<!DOCTYPE annotation [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]>'
    "<annotation><filename>&d;</filename></annotation>"
)
OUTSIDE = (
    '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    "<annotation><filename>&a;</filename></annotation>"
)


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused_before_their_entities(
    text: str, encoding: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"a\.xml: it declares a document type .*DOCTYPE"):
        read_voc(write(tmp_path, text.encode(encoding)))


def test_what_is_written_is_voc(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 64, 48], [216.8, 174.8, 227.2, 188.2]], np.float32)
    paths = [tmp_path / "JPEGImages" / name for name in ("a.jpg", "b <&>.jpg")]
    write_voc([Sample(path, 64, 48, boxes[:1], boxes[1:], "x") for path in paths], tmp_path)
    assert (tmp_path / "ImageSets" / "Main" / "trainval.txt").read_text() == "a\nb <&>\n"
    root = ElementTree.parse(tmp_path / "Annotations" / "b <&>.xml").getroot()
    assert root.findtext("filename") == "b <&>.jpg"
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == [
        "64",
        "48",
        "3",
    ]
    face, ignored = root.iterfind("object")
    assert (face.findtext("name"), face.findtext("difficult")) == ("face", "0")
    assert [side.text for side in face.iterfind("bndbox/*")] == ["1", "1", "64", "48"]
    assert (ignored.findtext("name"), ignored.findtext("difficult")) == ("face", "1")
    assert [side.text for side in ignored.iterfind("bndbox/*")] == [
        "217.8",
        "175.8",
        "227.2",
        "188.2",
    ]
