from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from adapters import (
    STRIDES,
    open_detector,
    open_detectors,
    scrfd_boxes,
    scrfd_input,
    ultra_light_boxes,
    ultra_light_input,
    yunet_boxes,
    yunet_input,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from extd.boxes import iou
from extd.catalog import DEFAULT_MODEL, load_catalog
from extd.detector import Detector
from extd.evaluation.protocols import LOWEST, SINGLE
from extd.images import read_image

ASTRONAUT_FACE = (174, 66, 273, 207)
FILES = {
    "yunet_n_dynamic.onnx": "NMS 0.45",
    "yunet_s_dynamic.onnx": "NMS 0.45",
    "yunet_n_640_640.onnx": "NMS 0.45, run by OpenCV",
    "scrfd_500m.onnx": "NMS 0.4",
    "scrfd_2.5g.onnx": "NMS 0.4",
    "version-RFB-640.onnx": "NMS 0.3, images resized to 640x480",
}
Sides = st.integers(1, 200)


def level_shapes(width: int, height: int) -> list[tuple[int, int]]:
    """Rows and columns of the maps of an image padded to multiples of 32."""
    padded = [(side + 31) // 32 * 32 for side in (height, width)]
    return [(padded[0] // stride, padded[1] // stride) for stride in STRIDES]


def one_hot(
    shapes: list[tuple[int, int]], anchors: int, level: int, row: int, column: int
) -> tuple[list[NDArray[np.float32]], int]:
    """Scores [A, 1] a level, all 0 but one, and that one's index in its level."""
    scores = [np.zeros((rows * columns * anchors, 1), np.float32) for rows, columns in shapes]
    index = (row * shapes[level][1] + column) * anchors
    scores[level][index] = 1
    return scores, index


@given(Sides, Sides, st.integers(0, 2), st.data())
def test_yunet_places_a_box_where_its_cell_is(
    width: int, height: int, level: int, data: st.DataObject
) -> None:
    shapes = level_shapes(width, height)
    rows, columns = shapes[level]
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    scores, index = one_hot(shapes, 1, level, row, column)
    offsets = [np.zeros((len(score), 4), np.float32) for score in scores]
    offsets[level][index] = 0.5, 0.25, np.log(2), np.log(4)
    objectness = [score / 4 for score in scores]
    outputs = [output[None] for output in (*scores, *objectness, *offsets)]
    boxes, found = yunet_boxes(outputs, width, height)
    assert len(boxes) == len(found) == sum(len(score) for score in scores)
    stride = STRIDES[level]
    x, y = (column + 0.5) * stride, (row + 0.25) * stride
    assert found.max() == found[found > 0] == 0.5
    expected = [x - stride, y - 2 * stride, x + stride, y + 2 * stride]
    np.testing.assert_allclose(boxes[found.argmax()], expected, rtol=1e-4)


@given(Sides, Sides, st.integers(0, 2), st.data())
def test_scrfd_places_a_box_around_its_cells_corner(
    width: int, height: int, level: int, data: st.DataObject
) -> None:
    shapes = level_shapes(width, height)
    rows, columns = shapes[level]
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    scores, index = one_hot(shapes, 2, level, row, column)
    distances = [np.zeros((len(score), 4), np.float32) for score in scores]
    distances[level][index] = 1, 2, 3, 4
    boxes, found = scrfd_boxes([*scores, *distances], width, height)
    x, y = column, row
    expected = np.array([x - 1, y - 2, x + 3, y + 4]) * STRIDES[level]
    np.testing.assert_allclose(boxes[found.argmax()], expected)
    # The second anchor of the cell stands at the same point.
    assert (boxes[found.argmax() + 1] == np.array([x, y, x, y]) * STRIDES[level]).all()


def test_ultra_lights_boxes_are_relative() -> None:
    scores = np.array([[[0.9, 0.1], [0.2, 0.8]]], np.float32)
    boxes = np.array([[[0, 0, 1, 1], [0.25, 0.5, 0.5, 0.75]]], np.float32)
    found, faces = ultra_light_boxes([scores, boxes], 400, 200)
    assert found.tolist() == [[0, 0, 400, 200], [100, 100, 200, 150]]
    np.testing.assert_allclose(faces, [0.1, 0.8])


@given(Sides, Sides)
def test_inputs_have_the_order_range_and_size_that_their_files_take(
    width: int, height: int
) -> None:
    rgb = np.full((height, width, 3), (255, 100, 0), np.uint8)
    padded = (1, 3, -(-height // 32) * 32, -(-width // 32) * 32)
    yunet = yunet_input(rgb)
    assert yunet.shape == padded
    assert yunet[0, :, height - 1, width - 1].tolist() == [0, 100, 255]
    assert yunet.sum() == width * height * 355
    scrfd = scrfd_input(rgb)
    assert scrfd.shape == padded
    assert (scrfd[0, :, 0, 0] * 128 + 127.5).tolist() == [255, 100, 0]
    light = ultra_light_input(rgb, 64, 48)
    assert light.shape == (1, 3, 48, 64)
    assert (light[0, :, -1, -1] * 128 + 127).tolist() == [255, 100, 0]


@pytest.mark.shared
@pytest.mark.parametrize("name", FILES)
def test_published_files_are_recognized_and_find_a_face(
    shared: Path, examples: Path, name: str
) -> None:
    detector = open_detector(str(shared / "peers" / name))
    assert detector.name == Path(name).stem
    assert detector.how == FILES[name]
    image = read_image(examples / "astronaut.jpg")
    # No side is a multiple of 32, and the face is not where padding or resizing would leave it.
    image = np.asarray(cv2.copyMakeBorder(image, 19, 30, 50, 7, cv2.BORDER_REPLICATE), np.uint8)
    faces, seconds = detector.detect(image, 0.5)
    assert (faces.width, faces.height) == (image.shape[1], image.shape[0])
    assert (np.diff(faces.scores) <= 0).all()
    shifted = np.array([ASTRONAUT_FACE], np.float32) + np.array([50, 19, 50, 19], np.float32)
    assert iou(faces.boxes[:1], shifted).item() > 0.6
    assert seconds > 0 or "OpenCV" in detector.how
    assert len(detector.detect(np.zeros((64, 64, 3), np.uint8), 0.5)[0]) == 0


@pytest.mark.shared
def test_opencv_and_the_decoding_here_agree_on_yunet(shared: Path, examples: Path) -> None:
    image = read_image(examples / "astronaut.jpg")
    expected, found = (
        open_detector(str(shared / f"peers/{name}.onnx")).detect(image, 0.1)[0]
        for name in ("yunet_n_640_640", "yunet_n_dynamic")
    )
    assert len(expected) == len(found) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.5)
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.01)


def test_our_models_are_those_that_users_get(examples: Path) -> None:
    image = read_image(examples / "astronaut.jpg")
    detector = open_detector(DEFAULT_MODEL)
    faces, seconds = detector.detect(image, LOWEST)
    expected = Detector(threads=1).detect(image, SINGLE)
    np.testing.assert_allclose(faces.boxes, expected.boxes, atol=0.01)
    assert seconds > 0


def test_without_names_all_that_ship_are_compared_with_the_files_of_a_folder(
    toy: str, tmp_path: Path
) -> None:
    names = [detector.name for detector in open_detectors([], Path(toy).parent)]
    models = [model.name for model in load_catalog() if model.weights]
    # Named after their files, which tell int8 from float.
    shipped = {Detector(model).network.path.stem for model in models}
    assert names[0] == Detector(DEFAULT_MODEL).network.path.stem
    assert set(names) == {*shipped, "toy"}
    with pytest.raises(ValueError, match="two detectors have the same name"):
        open_detectors([toy], Path(toy).parent)
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        open_detectors([], tmp_path)


def test_a_file_of_another_kind_is_named_with_what_it_takes_and_gives(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 18]>
    other (float[N,3,H,W] pixels) => (float[N,3,H,W] mask) { mask = Relu(pixels) }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"other\.onnx has the inputs \['pixels'\].*\['mask'\]"):
        open_detector(str(tmp_path / "other.onnx"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("extd-fpn-64-relu", "no weights ship"),
        ("weights.pth", "weights.pth is a PyTorch checkpoint"),
        ("folder/model", "neither a model's name"),
        ("none.onnx", r"no file none\.onnx"),
    ],
)
def test_what_cannot_be_loaded_is_named(model: str, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_detector(model)
