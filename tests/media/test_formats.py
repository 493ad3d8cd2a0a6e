from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.data.coco import read_coco
from extd.data.yolo import read_yolo
from extd.evaluation.predictions import read_prediction
from extd.faces import Faces
from extd.media.formats import coco_json, text_files, wider_lines, write_text, yolo_lines

FACES = Faces([[1, 2, 30.126, 40], [5, 5, 9, 9]], [0.98766, 0.5], 64, 48)
NONE = Faces.empty(64, 48)

sides = st.floats(0, 64, width=32)
many = st.lists(st.tuples(sides, sides, sides, sides, st.floats(0, 1, width=32)), max_size=5)


def draw(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        assert cv2.imwrite(str(folder / name), np.zeros((48, 64, 3), np.uint8))


@given(many)
def test_coco_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]
) -> None:
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, _ in rows])
    faces = Faces(boxes.reshape(-1, 4), [row[4] for row in rows], 64, 64)
    path = tmp_path_factory.getbasetemp() / "faces.json"
    write_text(path, coco_json([("é/a.jpg", faces), ("b.jpg", NONE)]))
    first, second = read_coco(path, path.parent)
    assert (first.path, first.width, first.height) == (path.parent / "é/a.jpg", 64, 64)
    assert np.allclose(first.boxes, faces.boxes, atol=0.0201)
    assert len(second.boxes) == 0


def test_coco_annotations_are_results() -> None:
    content = json.loads(coco_json([("b.jpg", NONE), ("a.jpg", FACES)]))
    results = content["annotations"]
    assert [(one["image_id"], one["score"]) for one in results] == [(2, 0.9877), (2, 0.5)]
    assert results[0]["bbox"] == [1, 2, 29.13, 38]
    assert {one["category_id"] for one in results} == {content["categories"][0]["id"]}
    assert len({one["id"] for one in results}) == 2


def test_yolo_is_read_back(tmp_path: Path) -> None:
    draw(tmp_path / "images", "a.jpg", "b.png")
    for file, faces in zip(
        text_files(tmp_path / "labels", [Path("a.jpg"), Path("b.png")]), (FACES, NONE), strict=True
    ):
        write_text(file, yolo_lines(faces))
    first, second = read_yolo(tmp_path / "labels")
    assert np.allclose(first.boxes, FACES.boxes, atol=1e-4)
    assert len(second.boxes) == 0


def test_wider_is_read_back(tmp_path: Path) -> None:
    names = [Path("event/a.jpg"), Path("event/b.png"), Path("12--Big/c.JPG")]
    large = Faces([[12345.67, 2, 22345.68, 9]], [0.123456], 30000, 48)
    for file, name, faces in zip(
        text_files(tmp_path, names), names, (FACES, NONE, large), strict=True
    ):
        write_text(file, wider_lines(name, faces))
        found = read_prediction(file)
        corners = np.concatenate([found.boxes[:, :2], found.boxes[:, :2] + found.boxes[:, 2:]], 1)
        assert np.allclose(corners, faces.boxes, atol=0.0201)
        assert np.allclose(found.scores, faces.scores, atol=1e-6)
    assert (tmp_path / "12--Big/c.txt").read_text().startswith("12--Big/c.jpg\n1\n")


def test_two_pictures_do_not_share_a_text_file() -> None:
    with pytest.raises(ValueError, match=r"trip/a\.jpg and trip/A\.png"):
        text_files(Path(), [Path("trip/a.jpg"), Path("a.jpg"), Path("trip/A.png")])


def test_an_error_leaves_the_text_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "before\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "before\n"
    assert list(path.parent.iterdir()) == [path]
