from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.data.sample import Sample
from extd.data.yolo import find_yolo, read_yolo, write_yolo


def picture(path: Path, width: int = 64, height: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / "b.png")
    picture(tmp_path / "images" / "deep" / "a.jpg", 100, 10)
    picture(tmp_path / "images" / "c.jpg")
    text(tmp_path / "labels" / "b.txt", "0 0.5 0.5 0.25 0.5\n\n0 0.0 0.25 0.5 0\n")
    text(tmp_path / "labels" / "deep" / "a.txt", "0 0.5 0.5 1 1")
    text(tmp_path / "labels" / "classes.txt", "face\n")
    return tmp_path


def test_shares_become_pixels(root: Path) -> None:
    pictures = read_yolo(root / "labels")
    assert [one.path.relative_to(root / "images").as_posix() for one in pictures] == [
        "b.png",
        "c.jpg",
        "deep/a.jpg",
    ]
    first, second, third = pictures
    assert (first.width, first.height) == (64, 48)
    assert first.boxes.tolist() == [[24, 12, 40, 36], [-16, 12, 16, 12]]
    assert second.boxes.shape == second.ignore.shape == (0, 4)
    assert third.boxes.tolist() == [[0, 0, 100, 10]]


def test_labels_without_a_picture_stand_for_a_missing_one(root: Path) -> None:
    text(root / "labels" / "gone.txt", "0 0.5 0.5 1 1")
    gone = read_yolo(root / "labels")[-1]
    assert gone.path == root / "images" / "gone.jpg"
    assert (gone.width, gone.height, gone.boxes.shape) == (0, 0, (1, 4))


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
def test_the_class_of_faces_is_found_by_its_name(names: str, root: Path) -> None:
    text(root / "data.yaml", f"train: images\n{names}\n")
    text(root / "labels" / "b.txt", "0 0.5 0.5 0.25 0.5\n1 0.5 0.5 0.5 1\n")
    assert read_yolo(root / "labels")[0].boxes.tolist() == [[16, 0, 48, 48]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: [car, head]", "none of its classes is called 'face', there are 'car', 'head'"),
        ("names: &a [car]", r"'names' is '&a \[car\]'; write it as names: \[face\]"),
        ("names:\n  - car\n  ? face", r"'\? face' is no name of a class"),
    ],
)
def test_classes_that_cannot_be_understood_are_named(names: str, message: str, root: Path) -> None:
    text(root / "data.yaml", names)
    with pytest.raises(ValueError, match=rf"data\.yaml: {message}"):
        read_yolo(root / "labels")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.25", "has 4 numbers; expected 5: class, centre x"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2", "has 7 numbers"),
        ("0 0.5 0.5 0.25 x", "could not convert string to float: 'x'"),
        ("0 0.5 0.5 0.25 nan", "is no box"),
        ("face 0.5 0.5 0.25 0.5", "invalid literal"),
        ("1 0.5 0.5 0.25 0.5", "class 1 has no name; add data.yaml"),
    ],
)
def test_bad_lines_are_named(line: str, message: str, root: Path) -> None:
    text(root / "labels" / "deep" / "a.txt", f"0 0.5 0.5 1 1\n{line}")
    with pytest.raises(ValueError, match=rf"deep/a\.txt, line 2: .*{message}"):
        read_yolo(root / "labels")


def test_a_path_means_a_folder_of_labels(root: Path) -> None:
    data = text(root / "data.yaml", "names: [face]")
    for path in (root, data, root / "images", root / "labels"):
        assert find_yolo(path) == root / "labels"
    for path in (root / "images" / "deep", root / "labels" / "deep"):
        assert find_yolo(path) == root / "labels" / "deep"
        assert len(read_yolo(root / "labels" / "deep")) == 1
    assert find_yolo(root / "none") is None


def test_pictures_and_labels_may_lie_together(tmp_path: Path) -> None:
    text(tmp_path / "a.txt", "0 0.5 0.5 1 1")
    assert find_yolo(tmp_path) is None
    path = picture(tmp_path / "a.jpg")
    assert find_yolo(tmp_path) == tmp_path
    (one,) = read_yolo(tmp_path)
    assert (one.path, one.boxes.tolist()) == (path, [[0, 0, 64, 48]])
    path.rename(tmp_path / "a.JPG")
    assert find_yolo(tmp_path) == tmp_path


def test_pictures_may_lie_elsewhere(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "images").rename(elsewhere / "pictures")
    assert find_yolo(root / "labels") == root / "labels"
    pictures = read_yolo(root / "labels", elsewhere / "pictures")
    assert [len(one.boxes) for one in pictures] == [2, 0, 1]


@pytest.mark.parametrize("form", ["{}/{}", "{1}/{0}"])
def test_of_several_splits_one_is_to_be_named(form: str, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        folder = tmp_path / form.format("images", split)
        picture(folder / f"{split}.jpg")
        text(tmp_path / form.format("labels", split) / f"{split}.txt", "")
    with pytest.raises(ValueError, match=r"is divided; name one of .*train.*, .*valid"):
        find_yolo(tmp_path)
    found = find_yolo(tmp_path / form.format("images", "valid"))
    assert found == tmp_path / form.format("labels", "valid")
    assert [one.path.name for one in read_yolo(found)] == ["valid.jpg"]


def test_pictures_alone_are_no_labels(tmp_path: Path) -> None:
    for folder in ("images", "train/images", "images/train", "images/val"):
        picture(tmp_path / folder / "a.jpg")
        assert find_yolo(tmp_path) is None
        assert find_yolo(tmp_path / folder) is None


def test_what_is_written_is_yolo(tmp_path: Path) -> None:
    boxes = np.array([[16, 12, 48, 36], [-16, 12, 16, 12]], np.float32)
    names = ("a.jpg", "deep/b.c.png")
    pictures = [
        Sample(tmp_path / "images" / name, 64, 48, boxes[:count], boxes)
        for name, count in zip(names, (0, 2), strict=True)
    ]
    write_yolo(pictures, tmp_path)
    assert (tmp_path / "labels" / "a.txt").read_text() == ""
    lines = (tmp_path / "labels" / "deep" / "b.c.txt").read_text()
    assert lines == "0 0.5 0.5 0.5 0.5\n0 0 0.25 0.5 0\n"
    assert "names:\n  0: face\n" in (tmp_path / "data.yaml").read_text()
