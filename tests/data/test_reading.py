"""What each format's files mean, and which errors malformed ones give: tables of all formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extd.data.datasets import FORMATS, read_dataset
from extd.data.sample import Sample
from extd.faces import Faces
from extd.media.writers import csv_header, csv_lines

Write = Callable[[Mapping[str, object]], Path]

HEAD = "image,width,height,x1,y1,x2,y2,ignore,source"
YOLO_IMAGES = {"images/b.png": (64, 48), "images/c.jpg": (64, 48), "images/deep/a.jpg": (100, 10)}
WIDER_LIST = """\
0--Parade/a.jpg
2
10 20 30 40 0 0 0 0 0 0
50 20 5 4 2 0 1 1 0 0
0--Parade/empty.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Handshaking/b c.jpg
1
-3 2 0 4 0 0 0 0 2 1
"""
WIDER_IMAGES = {
    "WIDER_train/images/0--Parade/a.jpg": (64, 48),
    "WIDER_train/images/0--Parade/empty.jpg": (50, 40),
    "WIDER_train/images/1--Handshaking/b c.jpg": (30, 60),
}
WIDER = "wider_face_split/wider_face_train_bbx_gt.txt"
WIDER_SAMPLES = [
    ("WIDER_train/images/0--Parade/a.jpg", 64, 48, [[10, 20, 40, 60]], [[50, 20, 55, 24]]),
    ("WIDER_train/images/0--Parade/empty.jpg", 50, 40, [], []),
    ("WIDER_train/images/1--Handshaking/b c.jpg", 30, 60, [[-3, 2, -3, 6]], []),
]


def line(**change: object) -> str:
    """A line of labels.jsonl; `...` takes a key out."""
    entry = {"image": "in/a.jpg", "width": 64, "height": 48, "boxes": [[1, 2, 3.5, 4]], **change}
    return json.dumps({key: value for key, value in entry.items() if value is not ...})


def coco(**change: object) -> str:
    content: dict[str, Any] = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 64, "height": 48},
            {"id": 3, "file_name": "sub/b.jpg", "width": 30, "height": 60},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 2, "bbox": [1, 2, 3.5, 4]},
            {"id": 2, "image_id": 3, "category_id": 2, "bbox": [5, 5, 0, 9], "iscrowd": 1},
            {"id": 3, "image_id": 3, "category_id": 9, "bbox": [8, 8, 8, 8], "iscrowd": 0},
        ],
        "categories": [{"id": 9, "name": "car"}, {"id": 2, "name": "Face"}],
        **change,
    }
    return json.dumps(content)


def annotated(**change: object) -> str:
    """COCO with one annotation."""
    return coco(annotations=[{"image_id": 3, "category_id": 2, "bbox": [1, 1, 2, 2], **change}])


def voc(objects: str, name: str = "a.jpg", size: str = "64 48") -> str:
    width, height = size.split()
    return (
        f"<annotation><filename>{name}</filename><source><database>street</database></source>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        f"{objects}</annotation>"
    )


def item(corners: str, name: str = "face", more: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners.split(), strict=False)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def shown(sample: Sample, root: Path) -> tuple[object, ...]:
    assert sample.boxes.dtype == sample.ignore.dtype == np.float32
    assert sample.boxes.shape[1] == sample.ignore.shape[1] == 4
    path = sample.path.relative_to(root).as_posix()
    return path, sample.width, sample.height, sample.boxes.tolist(), sample.ignore.tolist()


# Format, files, samples: path, width, height, boxes, ignored regions.
READ: dict[str, tuple[str, Mapping[str, object], Sequence[tuple[object, ...]]]] = {
    "a line is a sample, other keys are skipped": (
        "jsonl",
        {"labels.jsonl": f"{line(boxes=[])}\n\n{line(ignore=[[5, 5, 9, 9]], scale=0.5)}"},
        [("in/a.jpg", 64, 48, [], []), ("in/a.jpg", 64, 48, [[1, 2, 3.5, 4]], [[5, 5, 9, 9]])],
    ),
    "the older name of ignored regions": (
        "jsonl",
        {"labels.jsonl": line(ignore_boxes=[[1, 1, 2, 2]])},
        [("in/a.jpg", 64, 48, [[1, 2, 3.5, 4]], [[1, 1, 2, 2]])],
    ),
    "useless boxes are kept": (
        "jsonl",
        {"labels.jsonl": line(boxes=[[5, 5, 5, 9], [9, 9, 5, 5], [-9, -9, 900, 900]])},
        [("in/a.jpg", 64, 48, [[5, 5, 5, 9], [9, 9, 5, 5], [-9, -9, 900, 900]], [])],
    ),
    "rows of one image come together": (
        "csv",
        {
            "labels.csv": f"{HEAD}\nin/a.jpg,64,48,1,2,3.5,4,0,x\nempty.jpg,30,60,,,,,0,\n"
            "in/a.jpg,64,48,5,5,9,9,1,x\n"
        },
        [("in/a.jpg", 64, 48, [[1, 2, 3.5, 4]], [[5, 5, 9, 9]]), ("empty.jpg", 30, 60, [], [])],
    ),
    "columns stand in any order and sizes are read": (
        "csv",
        {
            "labels.csv": '\ufeffy2,x2, y1,x1,image,score\r\n9,8,7,6,"a, b.png",0.5\r\n\r\n'
            "3,2,1,0,none.png,\r\n",
            "a, b.png": (20, 10),
        },
        [("a, b.png", 20, 10, [[6, 7, 8, 9]], []), ("none.png", 0, 0, [[0, 1, 2, 3]], [])],
    ),
    "sizes may be missing": (
        "jsonl",
        {"labels.jsonl": line(width=..., height=...), "in/a.jpg": (20, 10)},
        [("in/a.jpg", 20, 10, [[1, 2, 3.5, 4]], [])],
    ),
    "what was detected": (
        "jsonl",
        {
            "labels.jsonl": '{"path": "in/a.jpg", "width": 64, "height": 48, "faces": '
            '[{"box": [1, 2, 3.5, 4], "score": 0.9}]}\n'
            '{"path": "b.jpg", "width": 64, "height": 48, "faces": []}\n'
        },
        [("in/a.jpg", 64, 48, [[1, 2, 3.5, 4]], []), ("b.jpg", 64, 48, [], [])],
    ),
    "a table of what was detected": (
        "csv",
        {"labels.csv": "path,width,height,x1,y1,x2,y2,score\na.jpg,64,48,1.00,2.00,3.50,4,0.9\n"},
        [("a.jpg", 64, 48, [[1, 2, 3.5, 4]], [])],
    ),
    "marks of ignored regions as numbers": (
        "csv",
        {"labels.csv": f"{HEAD}\na,64.0,48.0,1,2,3,4,0.0,\na,64.0,48.0,5,5,9,9,1.0,\n"},
        [("a", 64, 48, [[1, 2, 3, 4]], [[5, 5, 9, 9]])],
    ),
    "other names of columns, classes and separators": (
        "csv",
        {
            "labels.csv": "Filename;Width;Height;Class;XMin;YMin;XMax;YMax\n"
            "in\\a.jpg;64;48;Face;1;2;3,5;4\nin\\a.jpg;64;48;car;1;2;3;4\nb;64;48;car;1;2;3;4\n",
            "in/a.jpg": (64, 48),
        },
        [("in/a.jpg", 64, 48, [[1, 2, 3.5, 4]], []), ("b", 64, 48, [], [])],
    ),
    "a table without names": (
        "csv",
        {"labels.csv": "/their/a.jpg,1,2,3,4,x\nb.jpg,,,,,\n", "a.jpg": (9, 9), "b.jpg": (9, 7)},
        [("a.jpg", 9, 9, [[1, 2, 3, 4]], []), ("b.jpg", 9, 7, [], [])],
    ),
    "fractions and groups of Open Images": (
        "csv",
        {
            "labels.csv": "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
            "a,xclick,/m/0dzct,1,0.25,0.5,0.5,1,0\na,freeform,/m/0dzct,1,0,1,0,0.5,1\n"
            "a,xclick,/m/01g317,1,0,1,0,1,-1\n",
            "a.jpg": (64, 48),
        },
        [("a.jpg", 64, 48, [[16, 24, 32, 48]], [[0, 0, 64, 24]])],
    ),
    "faces and crowds come in the order of the images": (
        "coco",
        {"faces.json": coco(), "sub/b.jpg": (30, 60)},
        [("a.jpg", 64, 48, [], []), ("sub/b.jpg", 30, 60, [[1, 2, 4.5, 6]], [[5, 5, 5, 14]])],
    ),
    "a single category is that of faces": (
        "coco",
        {
            "faces.json": annotated().replace('{"id": 9, "name": "car"}, ', "").replace("Fa", "x"),
            "a.jpg": (64, 48),
        },
        [("a.jpg", 64, 48, [], []), ("sub/b.jpg", 30, 60, [[1, 1, 3, 3]], [])],
    ),
    "sizes that are not given are read": (
        "coco",
        {
            "faces.json": coco(
                images=[
                    {"id": 1, "file_name": "a.jpg", "width": 0, "height": 9},
                    {"id": 2, "file_name": "b"},
                ],
                annotations=[],
            ),
            "a.jpg": (20, 10),
        },
        [("a.jpg", 20, 10, [], []), ("b", 0, 0, [], [])],
    ),
    "fractions become pixels, and a text without an image stands for a missing one": (
        "yolo",
        {
            **YOLO_IMAGES,
            "labels/b.txt": "0 0.5 0.5 0.25 0.5\n\n0 0.0 0.25 0.5 0\n",
            "labels/deep/a.txt": "0 0.5 0.5 1 1",
            "labels/gone.txt": "0 0.5 0.5 1 1",
            "labels/classes.txt": "face\n",
        },
        [
            ("images/b.png", 64, 48, [[24, 12, 40, 36], [-16, 12, 16, 12]], []),
            ("images/c.jpg", 64, 48, [], []),
            ("images/deep/a.jpg", 100, 10, [[0, 0, 100, 10]], []),
            ("images/gone.jpg", 0, 0, [[0, 0, 0, 0]], []),
        ],
    ),
    "a table in UTF-16": (
        "csv",
        {"labels.csv": "image,x1,y1,x2,y2\na.jpg,1,2,3,4\n".encode("utf-16"), "a.jpg": (9, 9)},
        [("a.jpg", 9, 9, [[1, 2, 3, 4]], [])],
    ),
    "images and text files together": (
        "yolo",
        {"a.JPG": (64, 48), "a.txt": "0 0.5 0.5 1 1"},
        [("a.JPG", 64, 48, [[0, 0, 64, 48]], [])],
    ),
    "pixels are counted from 1 and the last is inside": (
        "voc",
        {
            "JPEGImages/a.jpg": (64, 48),
            "Annotations/a.xml": voc(
                item("1 1 64 48") + item("10.5 20 10.5 20", more="<difficult>1</difficult>")
            ),
        },
        [("JPEGImages/a.jpg", 64, 48, [[0, 0, 64, 48]], [[9.5, 19, 10.5, 20]])],
    ),
    "other classes are not faces": (
        "voc",
        {"a.xml": voc(item("1 1 5 5", "car") + item("1 1 9 9", "Face"))},
        [("a.jpg", 64, 48, [[0, 0, 9, 9]], [])],
    ),
    "difficult in words, and several classes of faces": (
        "voc",
        {
            "annotations/a.xml": voc(
                item("1 1 5 5", "with_mask", "<difficult>Unspecified</difficult>")
                + item("2 2 5 5", "without_mask", "<difficult>true</difficult>")
                + item("1 1 9 9", "hat")
            ),
            "images/a.jpg": (64, 48),
        },
        [("images/a.jpg", 64, 48, [[0, 0, 5, 5]], [[1, 1, 5, 5]])],
    ),
    "a file may say little": (
        "voc",
        {"x.y.xml": "<annotation/>", "x.y.jpg": (20, 10), "z.xml": voc("", "z.png", "0 0")},
        [("x.y.jpg", 20, 10, [], []), ("z.png", 0, 0, [], [])],
    ),
    "the official lists": ("wider", {**WIDER_IMAGES, WIDER: WIDER_LIST}, WIDER_SAMPLES),
    "lists without the line of zeros": (
        "wider",
        {**WIDER_IMAGES, WIDER: WIDER_LIST.replace("0 0 0 0 0 0 0 0 0 0\n1", "1")},
        WIDER_SAMPLES,
    ),
    "lists with empty lines": (
        "wider",
        {**WIDER_IMAGES, WIDER: WIDER_LIST.replace("0--Parade/empty", "\n0--Parade/empty")},
        WIDER_SAMPLES,
    ),
    "lists with other line ends": (
        "wider",
        {**WIDER_IMAGES, WIDER: WIDER_LIST.replace("\n", "\r\n")[:-2].encode()},
        WIDER_SAMPLES,
    ),
}


@pytest.mark.parametrize("case", READ)
def test_files_are_read(case: str, write: Write) -> None:
    name, files, expected = READ[case]
    root = write(files)
    assert [shown(one, root) for one in read_dataset(root, name)] == list(expected)
    assert [shown(one, root) for one in read_dataset(root)] == list(expected)


@pytest.mark.parametrize(
    "names",
    [
        "names: [car, face]",
        "names: ['car', \"Face\"]  # two",
        "names: {0: car, 1: face}",
        "path: .\nnames:\n  0: car\n  1: face\nnc: 2",
        "names:\n- car\n- face\n\ntrain: images",
        "names:\n  - car\n\n  - 'face'\n",
    ],
)
def test_yaml_names_the_class_of_faces(names: str, write: Write) -> None:
    labels = "0 0.5 0.5 0.25 0.5\n1 0.5 0.5 0.5 1\n"
    root = write({**YOLO_IMAGES, "labels/b.txt": labels, "data.yaml": f"train: images\n{names}\n"})
    assert read_dataset(root)[0].boxes.tolist() == [[16, 0, 48, 48]]


# Format, label file, its content, error.
MALFORMED: list[tuple[str, str, str | bytes, str]] = [
    ("jsonl", "labels.jsonl", "\n{", ", line 2: Expecting"),
    ("jsonl", "labels.jsonl", "[" * 200_000, ", line 1: it is nested too deeply"),
    *(
        ("jsonl", "labels.jsonl", f"\n{text}", f", line 2: {message}")
        for text, message in (
            ("[]", "it is not a JSON object"),
            (line(width="wide"), "a size of 'wide' px"),
            (line(height=0), "a size of 0 px"),
            (line(height=1.5), r"a size of 1\.5 px"),
            (line(height=float("inf")), "a size of inf px"),
            (line(height=...), "'height' is missing"),
            ('{"path": "a.jpg", "error": "is broken"}', "the image could not be read: is broken"),
            ('{"path": "a.mp4", "frame": 3, "faces": []}', "it is about a frame of a video"),
            ('{"path": "a.jpg", "width": 9, "height": 9, "faces": [7]}', ".*'int' object"),
            (line(image=""), "'' is not the name of an image"),
            (line(image=7), "7 is not the name"),
            (line(boxes=...), "'boxes' is missing"),
            (line(boxes=[[1, 2, 3]]), r"\[1, 2, 3\] is not a box of four numbers"),
            (line(boxes=[[1, 2, 3, float("nan")]]), r".*nan\] is not a box"),
            (line(boxes=[[1, 2, 3, 10**400]]), ".* is not a box"),
            (line(boxes=[[1, 2, True, 4]]), ".* is not a box"),
            (line(boxes=[1, 2, 3, 4]), "1 is not a box"),
            (line(ignore=None), "None is not a list of boxes"),
            (line(landmarks=[]), r"landmarks are \[\]; give a list with one entry for each box"),
            (line(landmarks=[[1, 2]]), r"\[1, 2\] is not ten numbers"),
        )
    ),
    ("csv", "a.csv", "", " has no column 'image'; its first line must name image, x1"),
    ("csv", "a.csv", "image;x1;y1;x2;z\n", " has no column 'y2'.*, but is 'image;x1;y1;x2;z'"),
    ("csv", "a.csv", "picture,x1,y1,x2,y2,score\n", " has no column 'image'; "),
    ("csv", "a.csv", "path,frame,x1,y1,x2,y2\na.mp4,3,1,2,3,4", ", line 2: it is about a frame"),
    *(
        ("csv", "a.csv", f"{HEAD}\n{text}", message)
        for text, message in (
            ("a,64,48,1,2,x,4,0,", ", line 2: could not convert string to float: 'x'"),
            ("a,64,48,1,2,,4,0,", ", line 2: could not convert string to float: ''"),
            ("a,64,48,1,2,nan,4,0,", ", line 2: .* is not a box of four numbers"),
            ("a,64.5,48,,,,,0,", r", line 2: a size of 64\.5 px"),
            ("a,64,,,,,,0,", ", line 2: it has only one of width and height"),
            ("a,64,48,1,2,3,4,yes,", ", line 2: 'ignore' is 'yes'; give 0 or 1"),
            (",64,48,1,2,3,4,0,", ", line 2: '' is not the name of an image"),
            ("a,64,48,1,2,3,4,0,x,y", ", line 2: it has more cells"),
            ("a,64,48,,,,,2,", ", line 2: 'ignore' is '2'; give 0 or 1"),
            ("a,64,48,,,,,0,x\na,64,49,,,,,0,x", ", line 3: a.jpg is 64 x 49 px .* 64 x 48 px"),
            ("a,64,48,,,,,0,x\na,64,48,,,,,0,", ", line 3: a.*source '' here.*'x' before"),
            ('"a"b,64,48,,,,,0,', ", line 2: ',' expected after '\"'"),
        )
    ),
    *(
        ("coco", "a.json", text, message)
        for text, message in (
            ("{", ": Expecting"),
            ("[" * 200_000, ": it is nested too deeply"),
            ('[{"image_id": 1}]', ": it is not COCO"),
            ('{"images": []}', ": 'annotations' is missing"),
            (coco(images=[{"id": 1}]), r", images\[0\]: 'file_name' is missing"),
            (coco(images=[{"id": 1, "file_name": ""}]), r", images\[0\]: '' is not the name"),
            (
                coco(images=[{"id": 7, "file_name": "a"}] * 2),
                r", images\[1\]: the id 7 was given before",
            ),
            (coco(images=None), ": images and annotations must be lists"),
            (coco(categories=[]), ": none of the classes is called 'face'; there are '2', '9'"),
            (annotated(category_id=5), r", annotations\[0\]: there is no category 5"),
            (annotated(bbox=[]), r", annotations\[0\]: it has neither a bbox nor a seg"),
            (annotated(bbox=None, segmentation=[[1, 1, None, 2]]), r", annotations\[0\]: .*None"),
            (annotated(bbox=["x", 1, 1, 1]), r", annotations\[0\]: could not convert"),
            (coco(annotations=[7]), r", annotations\[0\]: 'int' object"),
            (coco(annotations=[{"image_id": 3}]), r", annotations\[0\]: 'category_id' is missing"),
            (annotated(image_id=4), r", annotations\[0\]: there is no image of id 4"),
            (annotated(bbox=[1, 1, 2]), r", annotations\[0\]: \[1, 1, 2\] is not a box"),
        )
    ),
    *(
        ("yolo", "labels/b.txt", f"\n{text}", f", line 2: .*{message}")
        for text, message in (
            ("0 0.5 0.5 0.25", "has 4 numbers; expected 5: class, center x"),
            ("0 0.5 0.5 0.25 x", "could not convert string to float: 'x'"),
            ("0 0.5 0.5 0.25 nan", "is not a class and finite numbers"),
            ("face 0.5 0.5 0.25 0.5", "could not convert string to float: 'face'"),
            ("0.5 0.5 0.5 0.25 0.5", "is not a class"),
        )
    ),
    ("yolo", "labels/data.yaml", "names: [car, head]", ": none of the .*'face'; there are 'car', "),
    ("yolo", "labels/data.yaml", "names: [car", r": it is not YAML: "),
    ("yolo", "labels/data.yaml", "names: 7", r": the names of classes are 7; write them as"),
    ("yolo", "labels/data.yaml", "names: {a: face}", r": invalid literal .*'a'"),
    *(
        ("voc", "a.xml", text, f", {message}")
        for text, message in (
            ("<annotation>", "the whole file: .*it is not XML: no element found"),
            ('<?xml version="1.0" encoding="none"?><annotation/>', ".*it is not XML: "),
            ("<svg><object/></svg>", ".*it holds <svg>, not <annotation>"),
            (voc("<object/>"), "object 1: it has no name"),
            (voc(item("1 1 5")), "object 1: 'ymax' is missing"),
            (voc(item("1 1 5 5", "car") + item("1 1 5 x")), "object 2: could not convert .*'x'"),
            (voc(item("1 1 nan 5")), ".*nan.* is not a box"),
            (voc("", size="wide 48"), "the whole file: could not convert string to float: 'wide'"),
            (voc("", size="-3 48"), r"the whole file: a size of -3\.0 px"),
        )
    ),
    *(
        # Entities that grow without bound, or name a file of this machine.
        ("voc", "a.xml", text.encode(code), ", .*: it declares a document type .*DOCTYPE")
        for code in ("utf-8", "utf-16")
        for text in (
            '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>',
            '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///x">]><annotation>&a;</annotation>',
        )
    ),
    *(
        ("wider", WIDER, WIDER_LIST.replace(before, after), f", {message}")
        for before, after, message in (
            ("2\n10", "two\n10", "line 2: invalid literal"),
            ("2\n10", "3\n10", "line 5: could not convert .*: '0--Parade/empty.jpg'"),
            ("2\n10", "900\n10", r"line 2: '0--Parade/a\.jpg' cannot have 900 faces: the list"),
            ("2\n10", "-1\n10", "line 2: .* cannot have -1 faces"),
            ("10 20 30 40", "10 20 30", "line 3: .* has 9 numbers; expected 10: x, y, width"),
            ("10 20 30 40", "10 20 x 40", "line 3: could not convert string to float: 'x'"),
            ("10 20 30 40", "10 20 nan 40", r"0--Parade/a\.jpg: .*nan.* is not a box"),
            ("\n1\n-3 2 0 4 0 0 0 0 2 1", "", "line 9: the number of faces of .* is missing"),
        )
    ),
]


@pytest.mark.parametrize(("name", "file", "text", "message"), MALFORMED)
def test_malformed_labels_are_named(
    name: str, file: str, text: str | bytes, message: str, write: Write
) -> None:
    # An image and a text beside it, so that every format finds its images.
    root = write({"a.jpg": (64, 48), "images/b.png": (64, 48), "labels/c.txt": ""})
    write({**WIDER_IMAGES, file: text})
    with pytest.raises(ValueError, match=rf"{Path(file).name}{message}"):
        read_dataset(root / file if FORMATS[name].suffix else root, name)


def test_a_class_of_faces_is_needed(write: Write) -> None:
    root = write({"a.xml": voc(item("1 1 5 5", "head")), "b.xml": voc(item("1 1 5 5", "car"))})
    with pytest.raises(ValueError, match=r"none of the classes is called 'face'.*'car', 'head'"):
        read_dataset(root)


def test_landmarks_are_read(write: Write) -> None:
    points = [float(value) for value in range(10)]
    boxes = [[1, 2, 3, 4], [5, 6, 7, 8]]
    text = f"{line(boxes=boxes, landmarks=[points, None])}\n{line()}"
    first, second = read_dataset(write({"labels.jsonl": text}))
    assert first.landmarks is not None
    assert first.landmarks[0].tolist() == points
    assert np.isnan(first.landmarks[1]).all()
    assert second.landmarks is None


def test_landmarks_that_were_detected_are_read(write: Write) -> None:
    points = [[float(value), value + 0.5] for value in range(5)]
    faces = [{"box": [1, 2, 3, 4], "landmarks": points}, {"box": [5, 6, 7, 8]}]
    entry = {"path": "a.jpg", "width": 9, "height": 9, "faces": faces}
    (sample,) = read_dataset(write({"labels.json": json.dumps(entry)}) / "labels.json")
    assert sample.landmarks is not None
    assert sample.landmarks[0].tolist() == [value for point in points for value in point]
    assert np.isnan(sample.landmarks[1]).all()


def test_landmarks_of_detected_tables_are_read(write: Write) -> None:
    points = np.arange(1, 11, dtype=np.float32).reshape(1, 5, 2)
    boxes, scores = np.array([[1, 2, 30, 40]], np.float32), np.array([0.9], np.float32)
    faces = Faces(boxes, scores, 64, 48, points)
    text = csv_header(landmarks=True) + csv_lines("a.jpg", faces)
    text += "a.jpg,64,48,5,6,7,8,0.8" + "," * 10 + "\n"
    (sample,) = read_dataset(write({"labels.csv": text}))
    assert sample.boxes.tolist() == [[1, 2, 30, 40], [5, 6, 7, 8]]
    assert sample.landmarks is not None
    assert sample.landmarks[0].tolist() == [*range(1, 11)]
    assert np.isnan(sample.landmarks[1]).all()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("labels.jsonl", line(), r"labels\.jsonl has no classes; leave out --class"),
        ("labels.csv", f"{HEAD}\na.jpg,9,9,1,2,3,4,0,\n", "has no column of classes; leave out"),
        ("label.txt", "# a.jpg\n1 2 3 4\n", "RetinaFace has no classes"),
        (f"../{WIDER}", WIDER_LIST, "WIDER FACE has no classes"),
    ],
)
def test_classes_of_formats_without_classes_are_refused(
    name: str, content: str, told: str, write: Write
) -> None:
    path = write({f"set/{name}": content, "set/a.jpg": (9, 9), **WIDER_IMAGES}) / "set" / name
    with pytest.raises(ValueError, match=told):
        read_dataset(path, classes=["face"])


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.csv"])
def test_detected_images_are_found_from_the_working_directory(
    name: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"path": "in/a.jpg", "width": 9, "height": 9, "faces": [{"box": [1, 2, 3, 4]}]}
    table = "path,width,height,x1,y1,x2,y2,score\nin/a.jpg,9,9,1,2,3,4,0.9\n"
    text = table if name == "labels.csv" else json.dumps(entry)
    monkeypatch.chdir(write({f"out/{name}": text, "in/a.jpg": (9, 9)}))
    (sample,) = read_dataset(Path("out"))
    assert sample.path == Path("in/a.jpg")


@pytest.mark.shared
def test_the_training_set_is_read(shared: Path) -> None:
    path = shared / "data" / "train" / "labels.jsonl"
    entries = [json.loads(text) for text in path.read_text().splitlines()]
    for one, entry in zip(read_dataset(path), entries, strict=True):
        assert len(one.boxes) == len(entry["boxes"])
        assert (one.width, one.height) == (entry["width"], entry["height"])
