from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from extd.data.coco import find_coco, read_coco, write_coco
from extd.data.sample import Sample


def content(**change: object) -> dict[str, Any]:
    return {
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


def write(path: Path, text: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(text))
    return path


def picture(path: Path, width: int = 64, height: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
    return path


def test_faces_and_crowds_are_read_in_the_order_of_the_images(tmp_path: Path) -> None:
    file = write(tmp_path / "faces.json", content())
    first, second = read_coco(file, tmp_path / "in")
    assert (first.path, first.width, first.height) == (tmp_path / "in" / "a.jpg", 64, 48)
    assert (len(first.boxes), len(first.ignore), first.source) == (0, 0, "")
    assert second.path == tmp_path / "in" / "sub" / "b.jpg"
    assert second.boxes.tolist() == [[1, 2, 4.5, 6]]
    assert second.ignore.tolist() == [[5, 5, 5, 14]]


def test_the_only_category_is_that_of_faces(tmp_path: Path) -> None:
    one = content(categories=[{"id": 2, "name": "head"}], annotations=content()["annotations"][:2])
    assert len(read_coco(write(tmp_path / "a.json", one), tmp_path)[1].boxes) == 1
    two = content(categories=[{"id": 9, "name": "car"}, {"id": 2, "name": "head"}])
    with pytest.raises(ValueError, match=r"b\.json: none of its classes is called 'face'"):
        read_coco(write(tmp_path / "b.json", two), tmp_path)


@pytest.mark.parametrize("folder", ["", "images", "train2017", "../images/train2017", "../images"])
def test_pictures_are_found_where_tools_put_them(folder: str, tmp_path: Path) -> None:
    file = write(tmp_path / "annotations" / "instances_train2017.json", content())
    # The first picture may be one that is missing.
    path = picture(file.parent / folder / "sub" / "b.jpg").resolve()
    assert read_coco(file)[1].path.resolve() == path


def test_pictures_that_are_nowhere_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "annotations" / "faces.json", content())
    with pytest.raises(
        FileNotFoundError, match=r"no picture of .*faces\.json, as 'a\.jpg', is in .*"
    ):
        read_coco(file)


def test_sizes_that_are_not_told_are_read(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 20, 10)
    images = [{"id": 1, "file_name": "a.jpg", "width": 0, "height": 9}, {"id": 2, "file_name": "b"}]
    file = write(tmp_path / "faces.json", content(images=images, annotations=[]))
    assert [(one.width, one.height) for one in read_coco(file)] == [(20, 10), (0, 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [{"id": 1}]}, r"images\[0\]: 'file_name' is missing"),
        ({"images": [{"id": 1, "file_name": ""}]}, r"images\[0\]: '' is no name"),
        ({"images": content()["images"] * 2}, r"images\[2\]: the id 7 was given before"),
        ({"images": None}, "images and annotations are to be lists"),
        ({"categories": []}, "none of its classes is called 'face', there are none"),
        ({"annotations": [{"image_id": 3}]}, r"annotations\[0\]: 'category_id' is missing"),
        (
            {"annotations": [{"image_id": 4, "category_id": 2, "bbox": [1, 1, 2, 2]}]},
            r"annotations\[0\]: there is no image of id 4",
        ),
        (
            {"annotations": [{"image_id": 3, "category_id": 2, "bbox": [1, 1, 2]}]},
            r"annotations\[0\]: \[1, 1, 2\] is no box",
        ),
        (
            {"images": [{"id": 1, "file_name": "a", "width": -4, "height": 9}], "annotations": []},
            r"images\[0\]: a size of -4 px",
        ),
    ],
)
def test_bad_entries_are_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "faces.json", content(**change))
    with pytest.raises(ValueError, match=rf"faces\.json(, |: ){message}"):
        read_coco(file, tmp_path)


def test_other_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.json: it is no COCO file"):
        read_coco(write(tmp_path / "a.json", [{"image_id": 1, "bbox": [1, 1, 2, 2]}]))
    with pytest.raises(ValueError, match=r"b\.json: 'annotations' is missing"):
        read_coco(write(tmp_path / "b.json", {"images": []}))
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ValueError, match=r"c\.json: Expecting"):
        read_coco(tmp_path / "c.json")


def test_the_one_file_of_a_folder_is_found(tmp_path: Path) -> None:
    assert find_coco(tmp_path) is None
    loose = write(tmp_path / "faces.json", {})
    assert find_coco(tmp_path) == find_coco(loose) == loose
    write(tmp_path / "other.json", {})
    assert find_coco(tmp_path) is None
    train = write(tmp_path / "annotations" / "instances_train2017.json", {})
    write(tmp_path / "annotations" / "captions_train2017.json", {})
    assert find_coco(tmp_path) == train
    write(tmp_path / "annotations" / "instances_val2017.json", {})
    with pytest.raises(ValueError, match=r"is divided; name one of .*train2017\.json, .*val2017"):
        find_coco(tmp_path)


def test_what_is_written_is_coco(tmp_path: Path) -> None:
    boxes = np.array([[216.8, 174.8, 227.2, 188.2], [5, 5, 5, 9]], np.float32)
    pictures = [
        Sample(tmp_path / "in" / "a.jpg", 640, 480, boxes[:0], boxes[:0]),
        Sample(tmp_path / "in" / "b.jpg", 640, 480, boxes, boxes[:1], "street"),
    ]
    write_coco(pictures, tmp_path / "faces.json")
    written = json.loads((tmp_path / "faces.json").read_text())
    assert [one["file_name"] for one in written["images"]] == ["in/a.jpg", "in/b.jpg"]
    assert [one["image_id"] for one in written["annotations"]] == [2, 2, 2]
    assert [one["id"] for one in written["annotations"]] == [1, 2, 3]
    assert [one["iscrowd"] for one in written["annotations"]] == [0, 0, 1]
    assert written["annotations"][0]["bbox"] == [216.8, 174.8, 10.4, 13.4]
    assert [one["area"] for one in written["annotations"]] == [139.36, 0, 139.36]
    assert written["categories"] == [{"id": 1, "name": "face"}]
