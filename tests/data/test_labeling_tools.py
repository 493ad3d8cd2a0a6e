"""RetinaFace's list and the files of labelme, CVAT and Label Studio, which are only read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extd.data.datasets import read_dataset

Write = Callable[[Mapping[str, object]], Path]

POINTS = " ".join(f"{10 + i} {20 + i}.5 0.0" for i in range(5))
IMAGES = {"images/in/a.jpg": (64, 48), "images/b.jpg": (30, 60)}


def test_retinaface_lists_are_read(write: Write) -> None:
    text = f"# in/a.jpg\n1 2 30 40 {POINTS} 0.9\n5 6 7 8 {'-1 -1 -1 ' * 5}\n\n# b.jpg\n1 2 3 4\n"
    first, second = read_dataset(write({**IMAGES, "label.txt": text}))
    assert (first.width, first.height, second.path.name) == (64, 48, "b.jpg")
    assert first.boxes.tolist() == [[1, 2, 31, 42], [5, 6, 12, 14]]
    assert first.landmarks is not None
    expected = [10, 20.5, 11, 21.5, 12, 22.5, 13, 23.5, 14, 24.5]
    assert first.landmarks[0].tolist() == expected
    assert np.isnan(first.landmarks[1]).all()
    assert (second.boxes.tolist(), second.landmarks) == ([[1, 2, 4, 6]], None)


def test_the_second_form_of_retinaface_has_corners_and_sizes(write: Write) -> None:
    files = {"in/a.jpg": (9, 9), "labelv2.txt": f"# in/a.jpg 64 48\n1 2 31 42 {POINTS}\n"}
    (sample,) = read_dataset(write(files))
    assert (sample.width, sample.height) == (64, 48)
    assert sample.boxes.tolist() == [[1, 2, 31, 42]]


def shape(label: str, kind: str | None, *points: Any, **more: object) -> dict[str, object]:
    return {"label": label, "points": points, "shape_type": kind, **more}


def labelme(*shapes: Mapping[str, object], **more: object) -> str:
    content = {"version": "5", "flags": {}, "shapes": shapes, "imagePath": "a.jpg"}
    return json.dumps({**content, "imageWidth": 64, "imageHeight": 48, **more})


def test_shapes_of_labelme_give_their_bounds(write: Write) -> None:
    shapes = [
        shape("face", "rectangle", [1, 2], [31, 42]),
        shape("face", "rectangle", [31, 42], [1, 2]),
        shape("Face", "polygon", [10, 2], [20, 30.5], [5, 9]),
        shape("face", None, [1, 1], [2, 1], [2, 2], [1, 2]),
        shape("face", "circle", [20, 20], [23, 24]),
        shape("face", "rectangle", [0, 0], [4, 4], difficult=True),
        shape("face", "point", [7, 7]),
        shape("hand", "rectangle", [1, 1], [2, 2]),
    ]
    (sample,) = read_dataset(write({"a.json": labelme(*shapes), "a.jpg": (64, 48)}))
    expected = [[1, 2, 31, 42], [1, 2, 31, 42], [5, 2, 20, 30.5], [1, 1, 2, 2], [15, 15, 25, 25]]
    assert (sample.boxes.tolist(), sample.ignore.tolist()) == (expected, [[0, 0, 4, 4]])


@pytest.mark.parametrize(
    ("name", "image", "images"),
    [
        ("a.jpg", "a.jpg", None),
        ("..\\images\\a.jpg", "images/a.jpg", None),
        ("../images/a.jpg", "images/a.jpg", None),
        ("renamed.jpg", "json/a.png", None),
        ("..\\gone\\a.jpg", "images/a.jpg", "images"),
        ("", "json/a.jpg", None),
    ],
)
def test_labelme_images_are_found(name: str, image: str, images: str | None, write: Write) -> None:
    place = f"json/{image}" if "/" not in image else image
    files = {"json/a.json": labelme(imagePath=name, imageWidth=None), place: (64, 48)}
    root = write({**files, "json/other.json": "{}"})
    for path in ("json", "json/a.json", "."):
        (sample,) = read_dataset(root / path, images=images and root / images)
        assert sample.path.resolve() == root / place
        assert (sample.width, sample.height) == (64, 48)


def cvat(*images: str) -> str:
    return (
        f'<?xml version="1.0"?><annotations><version>1.1</version>{"".join(images)}</annotations>'
    )


def image(name: str, *shapes: str, width: object = 64) -> str:
    return f'<image id="0" name="{name}" width="{width}" height="48">{"".join(shapes)}</image>'


BOX = '<box label="face" xtl="1" ytl="2" xbr="31.5" ybr="42"/>'


def test_shapes_of_cvat_give_their_bounds(write: Write) -> None:
    shapes = [
        BOX,
        '<polygon label="Face" points="10.0,2;20,30.5;5,9"/>',
        '<ellipse label="face" cx="20" cy="20" rx="5" ry="4"/>',
        '<mask label="face" left="3" top="4" width="5" height="6" rle="1, 2"/>',
        '<points label="face" points="1,1;2,2"/>',
        '<box label="hand" xtl="1" ytl="2" xbr="3" ybr="4"/>',
        "<tag/>",
    ]
    text = cvat(image("in/a.jpg", *shapes), image("b.jpg"))
    first, second = read_dataset(write({**IMAGES, "annotations.xml": text}))
    assert (first.width, first.height, second.path.name) == (64, 48, "b.jpg")
    expected = [[1, 2, 31.5, 42], [5, 2, 20, 30.5], [15, 16, 25, 24], [3, 4, 8, 10]]
    assert (first.boxes.tolist(), len(second.boxes)) == (expected, 0)


def test_cvat_yolo_is_read_with_its_names(write: Write) -> None:
    files = {
        "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n",
        "obj.names": "hand\nface\n",
        "train.txt": "data/obj_train_data/in/a.jpg\ndata/obj_train_data/b.jpg\n",
        "obj_train_data/in/a.txt": "1 0.5 0.5 0.25 0.5\n0 0.1 0.1 0.1 0.1\n",
        "obj_train_data/b.txt": "",
    }
    root = write(files)
    (root / "photos").mkdir()
    write({"photos/in/a.jpg": (64, 48), "photos/b.jpg": (30, 60)})
    for path, images in ((root, root / "photos"), (root / "obj_train_data", None)):
        second, first = read_dataset(path, images=images)
        assert (first.width, first.height, second.path.name) == (64, 48, "b.jpg")
        assert (first.boxes.tolist(), len(second.boxes)) == ([[24, 12, 40, 36]], 0)
        write({"obj_train_data/in/a.jpg": (64, 48), "obj_train_data/b.jpg": (30, 60)})
    with pytest.raises(ValueError, match=r"is divided.*obj_train_data, .*obj_valid_data"):
        read_dataset(write({"obj_valid_data/c.txt": ""}))


def rectangle(label: str, *box: float, **more: object) -> dict[str, object]:
    """A shape of Label Studio's JSON-MIN in an image of 200 x 100 px; the box is in percent."""
    sides = dict(zip(("x", "y", "width", "height"), box, strict=True))
    size = {"original_width": 200, "original_height": 100}
    return {**sides, "rotation": 0, "rectanglelabels": [label], **size, **more}


def task(image: str, *shapes: Mapping[str, object], **more: object) -> dict[str, Any]:
    """A task of Label Studio's JSON."""
    sizes = ("original_width", "original_height", "image_rotation")
    results = [
        {
            "value": {key: value for key, value in shape.items() if key not in sizes},
            "type": "rectanglelabels",
            **{key: shape[key] for key in sizes if key in shape},
        }
        for shape in shapes
    ]
    annotation = {"result": results, "was_cancelled": False, **more}
    return {"id": 1, "annotations": [annotation], "data": {"note": "x", "image": image}}


def test_label_studio_boxes_are_in_percent(write: Write) -> None:
    root = write({"photos/a b.jpg": (200, 100), "photos/0a1b2c3d-b.png": (200, 100)})
    corners = [[10, 20], [30, 20], [20, 50]]
    shapes = [
        rectangle("Face", 10, 20, 5, 30),
        rectangle("hand", 0, 0, 5, 5),
        rectangle("Face", 50, 10, 10, 40, rotation=90),
        {**rectangle("Face", 1, 1, 1, 1), "rectanglelabels": [], "polygonlabels": ["Face"]}
        | {"points": corners},
        {**rectangle("Face", 1, 1, 1, 1), "rectanglelabels": [], "choices": ["old"]},
    ]
    url = "/data/upload/3/0a1b2c3d-a%20b.jpg"
    empty = "/data/local-files/?d=set/0a1b2c3d-b.png"
    redone = task(url, *shapes)
    redone["annotations"] = [{"result": []}, *redone["annotations"], {"was_cancelled": True}]
    brief = [
        {"image": url, "id": 1, "label": shapes, "annotator": 1, "annotation_id": 4},
        {"image": empty, "id": 2, "annotator": 1, "annotation_id": 5},
    ]
    for name, tasks in (("long", [redone, task(empty)]), ("brief", brief)):
        file = write({f"{name}/export.json": json.dumps(tasks)}) / name
        for path in (file, file / "export.json"):
            first, second = read_dataset(path, images=root / "photos")
            assert (first.path.name, first.width, first.height) == ("a b.jpg", 200, 100)
            expected = [[20, 20, 30, 50], [60, 10, 100, 30], [20, 20, 60, 50]]
            np.testing.assert_allclose(first.boxes, expected, atol=1e-4)
            assert (second.path.name, second.width, len(second.boxes)) == ("0a1b2c3d-b.png", 200, 0)


@pytest.mark.parametrize("place", ["images", "."])
def test_label_studio_images_are_beside_the_export(place: str, write: Write) -> None:
    tasks = [task("s3://bucket/set/b.jpg", rectangle("face", 0, 0, 50, 50))]
    root = write({f"{place}/b.jpg": (200, 100), "export.json": json.dumps(tasks)})
    (sample,) = read_dataset(root)
    assert (sample.path.is_file(), sample.boxes.tolist()) == (True, [[0, 0, 100, 50]])


# Files, what is read, what is told.
LEFT_OUT: list[tuple[str, str, str]] = [
    ("label.txt", f"# b.jpg\n1 2 3\n1 2 3 4 {POINTS}", "line 2: '1 2 3' is not 4 or 19 numbers"),
    ("label.txt", "# b.jpg\n1 2 3 nan\n1 2 3 4", "line 2: '1 2 3 nan' is not 4 or 19 numbers"),
    ("label.txt", "# b.jpg\n1 2 3 4\n#\n5 5 5 5", "line 3: '#' does not name an image"),
    ("label.txt", "# b.jpg\n1 2 3 4\n# c.jpg 0 9\n5 5 5 5", "line 3: a size of 0 px"),
    (
        "b.json",
        labelme(shape("face", None, [1, 2]), shape("face", None, [1, 2], [3, 4])),
        r"shapes\[0\]: \[\[1, 2\]\] are fewer than two",
    ),
    (
        "b.json",
        labelme(shape("face", None, [1, 2], [3]), shape("face", None, [1, 2], [3, 4])),
        r"shapes\[0\]: zip",
    ),
    ("annotations.xml", cvat(image("b.jpg", '<box label="face"/>', BOX)), "b.jpg, shape 1: 'xtl'"),
    (
        "annotations.xml",
        cvat(image("b.jpg", BOX), image("c.jpg", width="wide")),
        r"c\.jpg: could not convert string to float: 'wide'",
    ),
    *(
        ("b.json", json.dumps([task("b.jpg", rectangle("face", 1, 1, 5, 5)), wrong]), message)
        for wrong, message in (
            ({"id": 2, "annotations": [], "data": {"image": "c.jpg"}}, "task 2: it is not annot"),
            (task("page.html"), "task 2: it names no image"),
        )
    ),
    (
        "b.json",
        json.dumps(
            [
                task(
                    "b.jpg",
                    rectangle("face", 1, 1, 5, 5),
                    rectangle("face", 1, 1, 5, 5, image_rotation=90),
                    rectangle("face", 1, 1, "wide", 5),
                )
            ]
        ),
        "b.jpg, shape 2: its image was turned by 90 degrees",
    ),
]


@pytest.mark.parametrize(("file", "text", "message"), LEFT_OUT)
def test_malformed_entries_are_left_out(file: str, text: str, message: str, write: Write) -> None:
    root = write({"b.jpg": (64, 48), file: text})
    with pytest.warns(UserWarning, match=rf"left out: .*{file}, {message}"):
        (sample,) = read_dataset(root)
    assert len(sample.boxes) == 1


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("label.txt", "#\n1 2 3 4\n", "line 1: '#' does not name an image"),
        ("b.json", '{"shapes": {}}', "the whole file: it is not labelme's"),
        ("b.json", '{"shapes": ', "the whole file: Expecting value"),
        ("annotations.xml", "<annotation/>", "it holds <annotation>, not <annotations>"),
        (
            "annotations.xml",
            cvat("<track/>"),
            "it is about a video; export it as 'CVAT for images'",
        ),
        ("annotations.xml", cvat("<image/>"), "None is not the name of an image"),
    ],
)
def test_malformed_files_are_named(file: str, text: str, message: str, write: Write) -> None:
    formats = {"label.txt": "retinaface", "b.json": "labelme", "annotations.xml": "cvat"}
    root = write({"b.jpg": (64, 48), file: text})
    with pytest.raises(ValueError, match=rf"{file}[,:] {message}"):
        read_dataset(root, formats[file])
