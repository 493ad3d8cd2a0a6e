"""What COCO's annotations may leave out or write otherwise, and where its images are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extd.data.coco import mask_bounds
from extd.data.datasets import read_dataset

Write = Callable[[Mapping[str, object]], Path]

IMAGE = {"a.jpg": (64, 80)}
BOX = [10.0, 20.0, 40.0, 60.0]
POLYGONS = [[10, 20, 30, 20, 30, 50], [25, 40, 40, 60.0]]


def coco(*annotations: Mapping[str, Any], name: str = "a.jpg", **content: object) -> str:
    """A file of one image of 64 x 80 px."""
    image = {"id": 1, "file_name": name, "width": 64, "height": 80}
    first = {"image_id": 1, "category_id": 1}
    content = {"images": [image], "categories": [{"id": 1, "name": "face"}], **content}
    return json.dumps({**content, "annotations": [{**first, **one} for one in annotations]})


@pytest.mark.parametrize(
    "annotation",
    [
        {"bbox": [10, 20, 30, 40]},
        {"bbox": ["10", "20", "30", "40"]},
        {"bbox": [10, 20, 30, 40], "segmentation": {"counts": "?", "size": [80, 64]}},
        {"segmentation": POLYGONS},
        {"bbox": [], "segmentation": POLYGONS},
        {"segmentation": {"counts": [820, *(40, 40) * 29, 40, 1940], "size": [80, 64]}},
        # The same as pycocotools compresses it.
        {"segmentation": {"counts": f"di0X1X1{'0' * 57}\\k1", "size": [80, 64]}},
        {"bbox": [10, 20, 30, 40], "image_id": 1.0, "category_id": "1"},
    ],
)
def test_every_kind_of_annotation_gives_its_box(
    annotation: Mapping[str, Any], write: Write
) -> None:
    (sample,) = read_dataset(write({**IMAGE, "a.json": coco(annotation)}))
    assert sample.boxes.tolist() == [BOX]


@pytest.mark.parametrize(("mark", "ignored"), [("ignore", 1.0), ("iscrowd", 1), ("ignore", 0.0)])
def test_marked_regions_are_ignored(mark: str, ignored: float, write: Write) -> None:
    annotation = {"bbox": [10, 20, 30, 40], mark: ignored}
    (sample,) = read_dataset(write({**IMAGE, "a.json": coco(annotation)}))
    assert (len(sample.boxes), len(sample.ignore)) == ((0, 1) if ignored else (1, 0))


def compressed(counts: Sequence[int]) -> str:
    """Run lengths as pycocotools writes them."""
    text = ""
    for index, count in enumerate(counts):
        value = count - (counts[index - 2] if index > 2 else 0)
        more = True
        while more:
            code, value = value & 31, value >> 5
            more = value != (-1 if code & 16 else 0)
            text += chr(48 + (code | (32 if more else 0)))
    return text


@pytest.mark.parametrize("seed", range(20))
def test_bounds_of_masks_are_those_of_their_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    x1, y1 = int(rng.integers(width)), int(rng.integers(height))
    mask = np.zeros((height, width), bool)
    mask[y1 : y1 + 9, x1 : x1 + 9] = rng.random(mask[y1 : y1 + 9, x1 : x1 + 9].shape) < 0.3
    mask[y1, x1] = True
    flat = [False, *mask.T.ravel().tolist(), None]
    edges = [i for i in range(1, len(flat)) if flat[i] != flat[i - 1]]
    counts = np.diff([1, *edges]).tolist()
    ys, xs = np.nonzero(mask)
    expected = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    assert mask_bounds(counts, height, width) == expected
    assert mask_bounds(compressed(counts), height, width) == expected


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], "its mask is empty, or not of 64 x 80 px"),
        ([100], "is empty"),
        ([10, 0, 90], "is empty"),
        ([10, -3, 90], "is empty"),
        ([5000, 200], "is empty, or not of 64 x 80 px"),
        ("a b", "are not compressed run lengths"),
        ("o" * 400, "are not compressed run lengths"),
        ([[1], [2, 3]], "inhomogeneous"),
    ],
)
def test_malformed_masks_are_refused(counts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask_bounds(counts, 80, 64)


@pytest.mark.parametrize(
    ("first", "second", "faces"),
    [
        ("Faces", "faces-x1", 1),
        ("without_mask", "with_mask", 2),
        ("Human face", "head", 1),
        ("/m/0dzct", "/m/01g317", 1),
    ],
)
def test_classes_of_faces_are_known(first: str, second: str, faces: int, write: Write) -> None:
    categories = [{"id": 1, "name": first}, {"id": 2.0, "name": second}]
    boxes = [{"bbox": [1, 2, 3, 4]}, {"bbox": [1, 1, 2, 2], "category_id": 2}]
    (sample,) = read_dataset(write({**IMAGE, "a.json": coco(*boxes, categories=categories)}))
    assert len(sample.boxes) == faces


@pytest.mark.parametrize("categories", [{}, {"categories": []}, {"categories": None}])
def test_categories_may_be_missing(categories: Mapping[str, Any], write: Write) -> None:
    content = json.loads(coco({"bbox": [10, 20, 30, 40]})) | {"categories": None} | categories
    root = write({**IMAGE, "a.json": json.dumps(content)})
    assert read_dataset(root)[0].boxes.tolist() == [BOX]
    content["annotations"].append({"image_id": 1, "category_id": 2, "bbox": [1, 1, 2, 2]})
    write({"a.json": json.dumps(content)})
    with pytest.raises(ValueError, match=r"called 'face'; there are '1', '2'; .* --class"):
        read_dataset(root)
    assert len(read_dataset(root, classes=["2"])[0].boxes) == 1
    assert len(read_dataset(root, classes=["1", "2"])[0].boxes) == 2


def test_malformed_entries_are_left_out_with_a_word(write: Write) -> None:
    good = {"bbox": [10, 20, 30, 40]}
    bad = [{"bbox": []}, {"bbox": [1, 2]}, {"image_id": 99, **good}, {"category_id": 7, **good}]
    root = write({**IMAGE, "a.json": coco(*bad, good)})
    faults: list[str] = []
    (sample,) = read_dataset(root, report=lambda file, fault: faults.append(f"{file.name} {fault}"))
    assert sample.boxes.tolist() == [BOX]
    assert faults == [
        "a.json annotations[0]: it has neither a bbox nor a segmentation",
        "a.json annotations[1]: [1, 2] is not a box of four numbers below 1e+09 px",
        "a.json annotations[2]: there is no image of id 99",
        "a.json annotations[3]: there is no category 7",
    ]
    with pytest.warns(UserWarning, match=r"left out: 4 of .*a\.json, such as .*annotations\[0\]: "):
        read_dataset(root)


@pytest.mark.parametrize(
    ("name", "place", "images"),
    [
        ("images\\a.jpg", "images/a.jpg", None),
        ("images\\a.jpg", "images/a.jpg", "images"),
        ("images/a.jpg", "images/a.jpg", "images"),
        (".\\a.jpg", "a.jpg", None),
        ("C:\\their\\images\\a.jpg", "images/a.jpg", None),
        ("/their/place/a.jpg", "a.jpg", None),
        ("a", "a.png", None),
        ("a.jpg", "images/deep/down/a.jpg", None),
    ],
)
def test_names_of_other_systems_are_understood(
    name: str, place: str, images: str | None, write: Write
) -> None:
    root = write({"a.json": coco(name=name), place: (64, 80)})
    (sample,) = read_dataset(root / "a.json", images=None if images is None else root / images)
    assert sample.path == root / place


def test_an_image_elsewhere_of_the_same_name_is_another(write: Write) -> None:
    images = [{"id": number, "file_name": f"{number}/a.jpg"} for number in (1, 2)]
    root = write({"a.json": coco(images=images), "1/a.jpg": (9, 9), "a.jpg": (9, 9)})
    assert not read_dataset(root)[1].path.exists()


def test_roboflow_puts_a_file_into_each_split(write: Write) -> None:
    root = write({"set/train/_annotations.coco.json": coco(), "set/train/a.jpg": (64, 80)})
    assert read_dataset(root / "set")[0].path == root / "set/train/a.jpg"
    write({"set/valid/_annotations.coco.json": coco()})
    with pytest.raises(ValueError, match=r"set is divided; name one of .*train/_ann.*, .*valid"):
        read_dataset(root / "set")
