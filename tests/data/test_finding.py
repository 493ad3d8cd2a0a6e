"""Which label file or folder a path means, and where its images are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from extd.data.datasets import FORMATS, WRITABLE, read_dataset
from extd.data.sample import ReadOptions
from extd.data.wider import read_wider

Write = Callable[[Mapping[str, object]], Path]

LISTS = "wider_face_split/wider_face_"
TWO_SPLITS = {f"{LISTS}train_bbx_gt.txt": "", f"{LISTS}val_bbx_gt.txt": ""}
YOLO = {"images/a.jpg": (9, 9), "images/deep/b.jpg": (9, 9), "labels/deep/b.txt": "", "d.yaml": ""}
COCO = {"annotations/instances_train.json": "{}", "annotations/captions_train.json": "{}"}

# Format, files, path, and what it means: None, or an error after "!".
FOUND: list[tuple[str, Mapping[str, object], str, str | None]] = [
    ("jsonl", {}, ".", None),
    ("jsonl", {"labels.jsonl": ""}, ".", "labels.jsonl"),
    ("jsonl", {"other.JSONL": ""}, "other.JSONL", "other.JSONL"),
    ("jsonl", {"other.jsonl": ""}, ".", None),
    ("csv", {"labels.csv": ""}, ".", "labels.csv"),
    ("csv", {"labels.txt": ""}, "labels.txt", None),
    ("coco", {}, ".", None),
    ("coco", {"faces.json": ""}, ".", "faces.json"),
    ("coco", {"notes.json": "{}"}, ".", None),
    ("coco", {"faces.json": "", "other.json": ""}, ".", None),
    ("coco", {"faces.json": "", "other.json": ""}, "faces.json", "faces.json"),
    ("coco", {**COCO, "a.json": ""}, ".", "annotations/instances_train.json"),
    ("coco", {**COCO, "annotations/instances_val.json": ""}, ".", r"!is divided; .*train.*, .*val"),
    *(("yolo", YOLO, path, "labels") for path in (".", "images", "labels")),
    ("yolo", YOLO, "d.yaml", "d.yaml"),
    ("yolo", {**YOLO, "d.yaml": "train: images"}, ".", "d.yaml"),
    ("yolo", {**YOLO, "d.yaml": "path: /other\ntrain: train"}, ".", "labels"),
    ("yolo", {"faces.txt": "images/a.jpg\n"}, "faces.txt", "faces.txt"),
    ("yolo", {"label.txt": "# a.jpg\n1 2 3 4", "label.jpg": ""}, ".", None),
    # A folder called so may hold other sets.
    ("yolo", {"labels/set/deep/a.txt": ""}, "labels/set", None),
    *(("yolo", YOLO, path, "labels/deep") for path in ("images/deep", "labels/deep")),
    ("yolo", YOLO, "none", None),
    ("yolo", {"a.txt": ""}, ".", None),
    ("yolo", {"a.txt": "", "a.JPG": (9, 9)}, ".", "."),
    ("yolo", {"labels/a.txt": ""}, "labels", "labels"),
    *(
        ("yolo", {f"{folder}/a.jpg": (9, 9)}, path, None)
        for folder in ("images", "train/images", "images/train")
        for path in (".", folder)
    ),
    *(
        ("yolo", {one.format(*names): "" for names in pairs}, path, found)
        for one, valid in (("{0}/{1}/a.txt", "labels/valid"), ("{1}/{0}/a.txt", "valid/labels"))
        for pairs in ([(k, s) for k in ("images", "labels") for s in ("train", "valid")],)
        for path, found in (
            (".", r"!is divided; name one of .*train.*, .*valid"),
            (valid, valid),
            (valid.replace("labels", "images"), valid),
        )
    ),
    ("voc", {"Annotations/a.xml": ""}, ".", "Annotations"),
    ("voc", {"Annotations/a.xml": ""}, "Annotations", "Annotations"),
    ("voc", {"a.xml": ""}, ".", "."),
    ("voc", {"annotations/a.xml": ""}, ".", "annotations"),
    ("voc", {"annotations.xml": ""}, ".", None),
    ("voc", {"a.txt": ""}, ".", None),
    ("labelme", {"a.json": '{"shapes": []}'}, ".", "."),
    ("labelme", {"a.json": '{"shapes": []}'}, "a.json", "a.json"),
    ("labelme", {"annotations/a.json": '{"shapes": []}'}, ".", "annotations"),
    ("labelme", {"a.json": '{"images": []}'}, ".", None),
    ("coco", {"a.json": '{"version": "5", "shapes": []}'}, ".", None),
    ("coco", {"a.json": '{"path": "a.jpg"}'}, "a.json", None),
    ("jsonl", {"a.json": '{"path": "a.jpg"}'}, "a.json", "a.json"),
    ("jsonl", {"a.json": '{"images": []}'}, "a.json", None),
    ("cvat", {"annotations.xml": ""}, ".", "annotations.xml"),
    ("cvat", {"a.xml": ""}, "a.xml", "a.xml"),
    ("cvat", {"a.xml": ""}, ".", None),
    ("label-studio", {"a.json": '[{"annotations": []}]'}, ".", "a.json"),
    ("label-studio", {"a.json": '[{"id": 1}]'}, ".", None),
    ("label-studio", {"a.json": '{"annotations": []}'}, "a.json", None),
    ("coco", {"a.json": '[{"annotations": []}]'}, "a.json", None),
    *(("yolo", {f"obj_{one}_data/a.txt": ""}, ".", f"obj_{one}_data") for one in ("train", "test")),
    ("retinaface", {"label.txt": "# a.jpg\n"}, ".", "label.txt"),
    ("retinaface", {"labelv2.txt": "# a.jpg 9 9\n"}, ".", "labelv2.txt"),
    ("retinaface", {"val.txt": "# a.jpg\n"}, "val.txt", "val.txt"),
    ("retinaface", {"label.txt": "0 0.5 0.5 1 1"}, ".", None),
    ("wider", {}, ".", None),
    *(
        ("wider", {**TWO_SPLITS, "WIDER_train/images/a": ""}, path, f"{LISTS}train_bbx_gt.txt")
        for path in (".", "WIDER_train", "wider_face_split", f"{LISTS}train_bbx_gt.txt")
    ),
    # The split that has images.
    ("wider", {**TWO_SPLITS, "WIDER_val/images/a": ""}, ".", f"{LISTS}val_bbx_gt.txt"),
    ("wider", {f"{LISTS}val.mat": ""}, "WIDER_val", f"{LISTS}val.mat"),
    ("wider", TWO_SPLITS, f"{LISTS}val.mat", None),
]


@pytest.mark.parametrize(("name", "files", "path", "expected"), FOUND)
def test_a_path_means_a_label_file(
    name: str, files: Mapping[str, object], path: str, expected: str | None, write: Write
) -> None:
    root = write(files)
    find = FORMATS[name].find
    if expected is not None and expected.startswith("!"):
        with pytest.raises(ValueError, match=expected[1:]):
            find(root / path)
    else:
        assert find(root / path) == (None if expected is None else root / expected)


COCO_IMAGE = (
    '{"images": [{"id": 1, "file_name": "gone.jpg", "width": 9, "height": 9},'
    '{"id": 2, "file_name": "b/a.jpg", "width": 9, "height": 9}],'
    '"annotations": [], "categories": [{"id": 1, "name": "face"}]}'
)


@pytest.mark.parametrize("folder", ["", "images", "train17", "../images/train17", "../images"])
def test_coco_images_are_found_where_tools_put_them(folder: str, write: Write) -> None:
    file = "annotations/instances_train17.json"
    root = write({file: COCO_IMAGE, f"annotations/{folder}/b/a.jpg": (9, 9)})
    found = read_dataset(root / file)[1].path
    assert found.resolve() == (root / "annotations" / folder / "b/a.jpg").resolve()


# Format, files, label file, error.
NOWHERE = [
    ("coco", {"a/faces.json": COCO_IMAGE}, "a", r"no image of .*faces\.json, such as 'gone\.jpg'"),
    ("wider", TWO_SPLITS, ".", r"there is no WIDER_train/images beside .*\(images\)"),
]


@pytest.mark.parametrize(("name", "files", "path", "message"), NOWHERE)
def test_images_that_are_nowhere_are_named(
    name: str, files: Mapping[str, object], path: str, message: str, write: Write
) -> None:
    root = write(files)
    with pytest.raises(FileNotFoundError, match=message):
        read_dataset(root / path, name)


def test_the_folder_of_images_can_be_given(write: Write) -> None:
    root = write(
        {
            f"{LISTS}train_bbx_gt.txt": "e/a.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n",
            "labels.jsonl": '{"image": "e/a.jpg", "width": 9, "height": 7, "boxes": []}',
            "labels.csv": "image,x1,y1,x2,y2\ne/a.jpg,,,,\n",
            "faces.json": COCO_IMAGE.replace("gone.jpg", "e/a.jpg"),
            "labels/e/a.txt": "",
            "Annotations/a.xml": "<annotation><filename>e/a.jpg</filename></annotation>",
            "elsewhere/e/a.jpg": (9, 7),
        }
    )
    paths = {"jsonl": "labels.jsonl", "csv": "labels.csv", "coco": "faces.json", "yolo": "labels"}
    for name in WRITABLE:
        path = root / paths.get(name, ".")
        first = read_dataset(path, name, root / "elsewhere")[0]
        assert first.path == root / "elsewhere/e/a.jpg"


@pytest.mark.parametrize(
    ("filename", "images", "expected"),
    [
        ("a", ["a.png"], "a.png"),
        ("", ["a.png"], "a.png"),
        ("other.jpg", ["a.JPG"], "a.JPG"),
        ("other.jpg", ["other.jpg", "a.jpg"], "a.jpg"),
        ("other.jpg", ["other.jpg"], "other.jpg"),
        ("their/a.jpg", ["a.jpg"], "a.jpg"),
        ("their/other.jpg", ["other.jpg"], "other.jpg"),
        ("C:\\their\\a.jpg", ["a.jpg"], "a.jpg"),
        ("a.jpg", ["sub/a.jpg"], "a.jpg"),
        ("sub/a.jpg", ["sub/a.jpg", "a.jpg"], "sub/a.jpg"),
    ],
)
@pytest.mark.parametrize("folder", ["JPEGImages", "images"])
def test_an_annotation_means_the_image_of_its_own_name(
    folder: str, filename: str, images: Sequence[str], expected: str, write: Write
) -> None:
    size = "<size><width>9</width><height>7</height></size>"
    text = f"<annotation><filename>{filename}</filename>{size}</annotation>"
    root = write({"Annotations/a.xml": text, **{f"{folder}/{name}": (9, 7) for name in images}})
    assert read_dataset(root)[0].path == root / folder / expected


def test_what_is_not_recognized_says_what_was_looked_for(write: Write) -> None:
    root = write({"folder/a.txt": "", "labels.jsonl": "", "labels.csv": "", "faces.json": "{"})
    cases: list[tuple[type[Exception], str, tuple[object, ...]]] = [
        (FileNotFoundError, "there is no file or folder .*none", (root / "none",)),
        (ValueError, r"known format; looked for jsonl: .*Annot", (root / "folder",)),
        (ValueError, r"no labels of COCO; looked for a \.json file", (root / "folder", "coco")),
        (ValueError, "'pascal' is not a format of labels; give one of jsonl, ", (root, "pascal")),
        (FileNotFoundError, "there is no folder .*none of images", (root, None, root / "none")),
        (ValueError, r"labels\.jsonl names no image", (root / "labels.jsonl",)),
        (ValueError, r"jsonl \(.*l\) and coco \(.*n\) and csv \(.*v\); name the label", (root,)),
        (ValueError, r"faces\.txt is not named like a list of WIDER", (root, "wider")),
    ]
    for error, message, arguments in cases[:-1]:
        with pytest.raises(error, match=message):
            read_dataset(*arguments)
    with pytest.raises(ValueError, match=cases[-1][1]):
        read_wider(root / "faces.txt", ReadOptions(print))


def column(values: Sequence[object]) -> np.ndarray:
    """A MATLAB cell array of one column."""
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def test_wider_lists_of_matlab_are_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = [np.array([[10, 20, 30, 40], [50, 20, 5, 4]]), np.zeros((1, 4)), np.zeros((0, 0))]
    marks = [np.array([[0], [1]]), np.zeros((1, 1)), np.zeros((0, 0))]
    names = column([column(["a", "empty", "none"])])
    content = {"event_list": column(["0--Parade"]), "file_list": names}
    root = write({f"{LISTS}val.mat": "", "WIDER_val/images/0--Parade/a.jpg": (9, 7)})
    path = root / f"{LISTS}val.mat"
    savemat(path, content)
    with pytest.raises(ValueError, match=r"val\.mat is not WIDER FACE's: .*'face_bbx_list'"):
        read_dataset(path)
    content |= {"face_bbx_list": column([column(faces)])}
    content |= {"invalid_label_list": column([column(marks)])}
    savemat(path, content)
    first, empty, none = read_dataset(path)
    assert len(none.boxes) + len(none.ignore) == 0
    # Zeros stand for no face, as in the text form.
    assert (first.boxes.tolist(), first.ignore.tolist()) == ([[10, 20, 40, 60]], [[50, 20, 55, 24]])
    assert (first.path.name, first.width, first.height, first.source) == (
        "a.jpg",
        9,
        7,
        "wider_val",
    )
    assert (empty.path.name, empty.width, len(empty.boxes) + len(empty.ignore)) == (
        "empty.jpg",
        0,
        0,
    )
    path.write_bytes(b"no MATLAB file" * 20)
    with pytest.raises(ValueError, match=r"val\.mat is not a MATLAB file"):
        read_dataset(path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r'pip install "extd\[eval\]"'):
        read_dataset(path)


@pytest.mark.shared
def test_the_official_list_of_validation_is_read(shared: Path) -> None:
    root = shared / "data" / "wider_dev"
    samples = read_dataset(root / "ground_truth" / "wider_face_val.mat")
    assert len(samples) == 3226
    assert sum(len(one.boxes) + len(one.ignore) for one in samples) == 39708 - 4
    there = {one.path: one for one in samples if one.width}
    known = read_dataset(root / "labels.jsonl", images=root / "WIDER_val")
    assert len(there) == len(known) == 363
    for one in known:
        same = there[one.path]
        assert (same.width, same.height) == (one.width, one.height)
        # These labels ignore some more faces, such as those without area.
        every = [sorted([*each.boxes.tolist(), *each.ignore.tolist()]) for each in (one, same)]
        assert every[0] == every[1]
        assert len(same.ignore) <= len(one.ignore)
