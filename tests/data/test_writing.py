"""What is written, word for word: labels of samples, and detections."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extd.data.coco import coco_json, write_coco
from extd.data.labels import write_csv, write_jsonl
from extd.data.sample import (
    Sample,
    detected,
    from_xywh,
    from_xyxy,
    plain,
    read_text,
    relative_name,
    text_files,
    to_rows,
    to_xywh,
    write_text,
)
from extd.data.voc import write_voc
from extd.data.wider import write_wider
from extd.data.yolo import write_yolo, yolo_lines
from extd.evaluation.predictions import prediction_text, read_prediction, to_prediction
from extd.faces import Faces

NONE = np.empty((0, 4), np.float32)
BOXES = np.array([[216.8, 174.8, 227.2, 188.2], [-16, 12, 16, 12]], np.float32)
FACES = Faces(np.array([[1, 2, 30.126, 40], [5, 5, 9, 9]]), [0.98766, 0.5], 64, 48)

pixels = st.floats(-1e6, 1e6, width=32)
some_boxes = st.integers(0, 4).flatmap(lambda n: arrays(np.float32, (n, 4), elements=pixels))


@given(some_boxes)
def test_numbers_are_written_exactly(boxes: np.ndarray) -> None:
    back = from_xyxy(to_rows(boxes))
    assert back.dtype == np.float32
    assert np.array_equal(back, boxes)
    back = from_xywh(to_xywh(boxes))
    np.testing.assert_allclose(back, boxes, rtol=2e-7, atol=1e-6)
    for value in boxes.ravel().tolist():
        assert float(plain(value)) == value
        assert "e" not in plain(value)
        assert not plain(value).endswith(".0")


def samples(root: Path) -> list[Sample]:
    """Two samples where images have no place, one of them without labels."""
    return [
        Sample(root / "in/a.jpg", 640, 480, NONE, NONE),
        Sample(root / "in/b <&>.jpg", 640, 480, BOXES, BOXES[:1], "street"),
    ]


def placed(root: Path, folder: str) -> list[Sample]:
    """The same in the folder of a layout."""
    return [
        Sample(root / folder / one.path.name, 640, 480, one.boxes, one.ignore, one.source)
        for one in samples(root)
    ]


def test_jsonl_is_written(tmp_path: Path) -> None:
    write_jsonl(samples(tmp_path), tmp_path / "new" / "a.jsonl")
    first, second = map(json.loads, (tmp_path / "new" / "a.jsonl").read_text().splitlines())
    size = {"width": 640, "height": 480}
    assert first == {"image": "../in/a.jpg", **size, "boxes": [], "ignore": [], "source": ""}
    assert second["boxes"] == [[216.8, 174.8, 227.2, 188.2], [-16, 12, 16, 12]]


def test_csv_is_written(tmp_path: Path) -> None:
    write_csv(samples(tmp_path), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == (
        "image,width,height,x1,y1,x2,y2,ignore,source\n"
        "in/a.jpg,640,480,,,,,0,\n"
        "in/b <&>.jpg,640,480,216.8,174.8,227.2,188.2,0,street\n"
        "in/b <&>.jpg,640,480,-16,12,16,12,0,street\n"
        "in/b <&>.jpg,640,480,216.8,174.8,227.2,188.2,1,street\n"
    )


def test_coco_is_written(tmp_path: Path) -> None:
    write_coco(samples(tmp_path), tmp_path / "a.json")
    written = json.loads((tmp_path / "a.json").read_text())
    assert [one["file_name"] for one in written["images"]] == ["in/a.jpg", "in/b <&>.jpg"]
    annotations = written["annotations"]
    assert [(one["id"], one["image_id"], one["iscrowd"]) for one in annotations] == [
        (1, 2, 0),
        (2, 2, 0),
        (3, 2, 1),
    ]
    assert annotations[0]["bbox"] == [216.8, 174.8, 10.4, 13.4]
    assert [one["area"] for one in annotations] == [139.36, 0, 139.36]
    assert not any("score" in one for one in annotations)
    assert written["categories"] == [{"id": 1, "name": "face"}]


def test_yolo_is_written(tmp_path: Path) -> None:
    write_yolo(placed(tmp_path, "images/deep"), tmp_path)
    assert (tmp_path / "labels/deep/a.txt").read_text() == ""
    first, second = (tmp_path / "labels/deep/b <&>.txt").read_text().splitlines()
    assert second == "0 0 0.025 0.05 0"
    assert np.allclose([float(word) for word in first.split()][1:3], [222 / 640, 181.5 / 480])
    assert "names:\n  0: face\n" in (tmp_path / "data.yaml").read_text()


def test_voc_is_written(tmp_path: Path) -> None:
    write_voc(placed(tmp_path, "JPEGImages"), tmp_path)
    assert (tmp_path / "ImageSets/Main/trainval.txt").read_text() == "a\nb <&>\n"
    root = ElementTree.parse(tmp_path / "Annotations/b <&>.xml").getroot()
    assert root.findtext("filename") == "b <&>.jpg"
    assert [side.text for side in root.iterfind("size/*")] == ["640", "480", "3"]
    assert [
        (one.findtext("name"), one.findtext("difficult"), [side.text for side in one[4]])
        for one in root.iterfind("object")
    ] == [
        ("face", "0", ["217.8", "175.8", "227.2", "188.2"]),
        ("face", "0", ["-15", "13", "16", "12"]),
        ("face", "1", ["217.8", "175.8", "227.2", "188.2"]),
    ]


def test_wider_is_written(tmp_path: Path) -> None:
    write_wider(placed(tmp_path, "WIDER_train/images/event"), tmp_path)
    assert (tmp_path / "wider_face_split/wider_face_train_bbx_gt.txt").read_text() == (
        "event/a.jpg\n0\n0 0 0 0 0 0 0 0 0 0\nevent/b <&>.jpg\n3\n"
        "217 175 10 13 0 0 0 0 0 0\n-16 12 32 0 0 0 0 0 0 0\n217 175 10 13 0 0 0 1 0 0\n"
    )


def test_detections_are_coco_results() -> None:
    none = Faces.empty(64, 48)
    named = [(name, detected(Path(name), faces)) for name, faces in (("b", none), ("a", FACES))]
    content = json.loads(coco_json(named))
    assert [(one["image_id"], one["score"]) for one in content["annotations"]] == [
        (2, 0.9877),
        (2, 0.5),
    ]
    assert content["annotations"][0]["bbox"] == [1, 2, 29.13, 38]


def test_detections_are_yolo_and_wider(tmp_path: Path) -> None:
    assert yolo_lines(FACES[:1].boxes, 100, 100) == "0 0.1556299973 0.21 0.2912599945 0.38\n"
    large = Faces([[12345.67, 2, 22345.68, 9]], [0.123456], 30000, 48)
    names = [Path("event/a.jpg"), Path("event/b.png"), Path("12--Big/c.JPG")]
    found = (FACES, Faces.empty(9, 9), large)
    for file, name, faces in zip(text_files(tmp_path, names), names, found, strict=True):
        write_text(file, prediction_text(name.with_suffix(".jpg").as_posix(), to_prediction(faces)))
        back = read_prediction(file)
        corners = np.concatenate([back.boxes[:, :2], back.boxes[:, :2] + back.boxes[:, 2:]], 1)
        assert np.allclose(corners, faces.boxes, atol=0.0021)
        assert np.allclose(back.scores, faces.scores, atol=1e-6)
    assert (tmp_path / "event/a.txt").read_text() == (
        "event/a.jpg\n2\n1.0 2.0 29.126 38.0 0.98766\n5.0 5.0 4.0 4.0 0.5\n"
    )
    assert (tmp_path / "12--Big/c.txt").read_text().startswith("12--Big/c.jpg\n1\n")


def test_two_images_do_not_share_a_text_file() -> None:
    with pytest.raises(ValueError, match=r"trip/a\.jpg and trip/A\.png"):
        text_files(Path(), [Path("trip/a.jpg"), Path("a.jpg"), Path("trip/A.png")])


def test_names_lead_from_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"a")
    (tmp_path / "deep" / "real").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "deep" / "real")
    name = relative_name(tmp_path / "images" / "a.jpg", link)
    assert name == "../../images/a.jpg"
    assert (link / name).read_bytes() == b"a"


def test_text_keeps_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfna\xefve.jpg")
    text = read_text(path)
    write_text(path, text)
    assert path.read_bytes() == b"na\xefve.jpg"
    # An error leaves the text that was there.
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_bytes() == b"na\xefve.jpg"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.txt"):
        read_text(tmp_path / "none.txt")
