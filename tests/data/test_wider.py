from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from extd.data.labels import read_labels
from extd.data.pixels import read_pixels
from extd.data.sample import Sample
from extd.data.wider import find_wider, read_wider, write_wider
from extd.images import read_image

LIST = """\
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
SIZES = {
    "0--Parade/a.jpg": (64, 48),
    "0--Parade/empty.jpg": (50, 40),
    "1--Handshaking/b c.jpg": (30, 60),
}
BOXES = {"a.jpg": [[10, 20, 40, 60]], "empty.jpg": [], "b c.jpg": [[-3, 2, -3, 6]]}
IGNORE = {"a.jpg": [[50, 20, 55, 24]], "empty.jpg": [], "b c.jpg": []}


def jpeg(size: tuple[int, int]) -> bytes:
    return cv2.imencode(".jpg", np.full((size[1], size[0], 3), size[0], np.uint8))[1].tobytes()


def column(values: list[object]) -> np.ndarray:
    """A MATLAB cell array of one column."""
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def mat_list() -> bytes:
    """What LIST says, in the official form for MATLAB, where zeros stand for no face."""
    stream = io.BytesIO()
    faces = [np.array([[10, 20, 30, 40], [50, 20, 5, 4]]), np.zeros((1, 4), np.int32)]
    content = {
        "event_list": column(["0--Parade", "1--Handshaking"]),
        "file_list": column([column(["a", "empty"]), column(["b c"])]),
        "face_bbx_list": column([column(faces), column([np.array([[-3, 2, 0, 4]])])]),
        "invalid_label_list": column(
            [column([np.array([[0], [1]]), np.zeros((1, 1))]), column([np.zeros((1, 1))])]
        ),
    }
    savemat(stream, content)
    return stream.getvalue()


def build(root: Path, split: str = "train", *, zipped: bool = False, mat: bool = False) -> Path:
    """The official layout with the pictures of LIST."""
    files = {f"WIDER_{split}/images/{name}": jpeg(size) for name, size in SIZES.items()}
    name = f"wider_face_split/wider_face_{split}" + (".mat" if mat else "_bbx_gt.txt")
    files[name] = mat_list() if mat else LIST.encode()
    for path, data in files.items():
        if zipped:
            with zipfile.ZipFile(root / f"{path.split('/')[0]}.zip", "a") as bundle:
                bundle.writestr(path, data)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
    return root


def every_box(picture: Sample) -> list[list[float]]:
    return sorted([*picture.boxes.tolist(), *picture.ignore.tolist()])


def read(path: Path) -> list[Sample]:
    found = find_wider(path)
    assert found is not None
    return read_wider(found)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("mat", [False, True])
def test_the_official_layout_is_read(zipped: bool, mat: bool, tmp_path: Path) -> None:
    pictures = read(build(tmp_path, zipped=zipped, mat=mat))
    assert [one.path.name for one in pictures] == list(BOXES)
    for one, (name, size) in zip(pictures, SIZES.items(), strict=True):
        assert one.path.as_posix().endswith(f"images/{name}")
        assert (one.width, one.height) == size
        assert np.array_equal(read_pixels(one.path), read_image(jpeg(size)))
        assert one.boxes.tolist() == BOXES[one.path.name]
        assert one.ignore.tolist() == IGNORE[one.path.name]
        assert one.boxes.shape[1] == one.ignore.shape[1] == 4
        assert one.source == "wider_train"


def test_a_path_means_one_split(tmp_path: Path) -> None:
    assert find_wider(tmp_path) is None
    build(tmp_path, "val", zipped=True)
    assert {one.source for one in read(tmp_path)} == {"wider_val"}
    build(tmp_path)
    train = tmp_path / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    inside = "wider_face_split.zip/wider_face_split/wider_face_val_bbx_gt.txt"
    for path in (tmp_path, tmp_path / "WIDER_train", tmp_path / "wider_face_split", train):
        assert find_wider(path) == train
    for path in (tmp_path / "WIDER_val.zip", tmp_path / "WIDER_val", tmp_path / inside):
        assert find_wider(path) == tmp_path / inside
    assert find_wider(tmp_path / "wider_face_split" / "wider_face_val.mat") is None


def test_the_split_with_pictures_is_meant(tmp_path: Path) -> None:
    build(tmp_path, "val")
    lists = tmp_path / "wider_face_split"
    (lists / "wider_face_train_bbx_gt.txt").write_text(LIST)
    assert {one.source for one in read(tmp_path)} == {"wider_val"}
    with pytest.raises(
        FileNotFoundError, match=r"neither WIDER_train/images nor WIDER_train\.zip beside .*images"
    ):
        read(lists / "wider_face_train_bbx_gt.txt")
    elsewhere = read_wider(lists / "wider_face_train_bbx_gt.txt", tmp_path / "WIDER_val" / "images")
    assert [one.width for one in elsewhere] == [64, 50, 30]


def test_lists_without_the_line_of_zeros_or_with_other_line_ends_are_read(tmp_path: Path) -> None:
    path = build(tmp_path) / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    expected = [one.boxes.tolist() for one in read(path)]
    for text in (LIST.replace("0 0 0 0 0 0 0 0 0 0\n1", "1"), LIST.replace("\n", " \r\n")[:-1]):
        path.write_bytes(text.replace("jpg ", "jpg").encode())
        pictures = read(path)
        assert [one.boxes.tolist() for one in pictures] == expected
        assert [one.path.name for one in pictures] == list(BOXES)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("2\n10", "two\n10", "line 2: invalid literal"),
        ("2\n10", "3\n10", "line 5: could not convert string to float: '0--Parade/empty.jpg'"),
        ("2\n10", "900\n10", r"line 2: '0--Parade/a\.jpg' cannot have 900 faces: the list ends"),
        ("2\n10", "-1\n10", "line 2: .* cannot have -1 faces"),
        ("10 20 30 40", "10 20 30", "line 3: .* has 9 numbers; expected 10: x, y, width"),
        ("10 20 30 40", "10 20 x 40", "line 3: could not convert string to float: 'x'"),
        ("10 20 30 40", "10 20 nan 40", r"0--Parade/a\.jpg: .*nan.* is no box"),
        ("\n1\n-3 2 0 4 0 0 0 0 2 1", "", "line 9: the number of faces of .* is missing"),
    ],
)
def test_bad_lines_are_named(before: str, after: str, message: str, tmp_path: Path) -> None:
    path = build(tmp_path) / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    assert before in LIST
    path.write_text(LIST.replace(before, after))
    with pytest.raises(ValueError, match=rf"wider_face_train_bbx_gt\.txt, {message}"):
        read(path)


def test_an_empty_list_has_no_pictures(tmp_path: Path) -> None:
    path = build(tmp_path) / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    path.write_text("\n")
    assert read(path) == []


def test_a_picture_that_is_missing_has_no_size_and_keeps_its_faces(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "WIDER_train/images/0--Parade/a.jpg").unlink()
    missing, *others = read(tmp_path)
    assert (missing.width, missing.height, missing.boxes.tolist()) == (0, 0, BOXES["a.jpg"])
    assert all(one.width for one in others)


def test_foreign_mat_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build(tmp_path, mat=True) / "wider_face_split" / "wider_face_train.mat"
    savemat(path, {"event_list": column(["0--Parade"])})
    with pytest.raises(ValueError, match=r"wider_face_train\.mat: 'file_list' is missing"):
        read(path)
    path.write_bytes(b"no MATLAB file" * 20)
    with pytest.raises(ValueError, match=r"wider_face_train\.mat is not a MATLAB file"):
        read(path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r'pip install "extd\[eval\]"'):
        read(path)


def test_a_list_is_known_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"faces\.txt is no list of WIDER FACE by its name"):
        read_wider(tmp_path / "faces.txt")


def test_lists_are_written_as_the_official_ones(tmp_path: Path) -> None:
    pictures = read(build(tmp_path))
    write_wider(pictures, tmp_path)
    text = (tmp_path / "wider_face_split" / "wider_face_train_bbx_gt.txt").read_text()
    attributes = LIST.replace("2 0 1 1 0 0", "0 0 0 1 0 0").replace("0 0 0 0 2 1", "0 0 0 0 0 0")
    assert text == attributes


@pytest.mark.shared
def test_the_official_list_of_validation_is_read(shared: Path) -> None:
    root = shared / "data" / "wider_dev"
    pictures = read(root / "ground_truth" / "wider_face_val.mat")
    assert len(pictures) == 3226
    assert sum(len(one.boxes) + len(one.ignore) for one in pictures) == 39708 - 4
    there = {one.path.name: one for one in pictures if one.width}
    known = read_labels(root / "labels.jsonl", root / "WIDER_val")
    assert len(there) == len(known) == 363
    for one in known:
        same = there[one.path.name]
        assert same.path == one.path
        assert (same.width, same.height) == (one.width, one.height)
        # These labels ignore some more faces, such as those without area.
        assert every_box(same) == every_box(one)
        assert len(same.ignore) <= len(one.ignore)
