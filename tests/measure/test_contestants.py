from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.boxes import iou
from extd.detector import Detector
from extd.images import read_image
from extd.measure.contestants import (
    OnnxContestant,
    StagedContestant,
    best_boxes,
    best_faces,
    open_session,
)
from extd.measure.peers import load_contestant
from extd.measure.protocols import SINGLE


@pytest.mark.parametrize("size", [(128, 96), (133, 71)])
@pytest.mark.parametrize("model", ["extd-fpn-32-prelu", "extd-lite"])
def test_ours_finds_what_the_detector_finds(
    examples: Path, model: str, size: tuple[int, int]
) -> None:
    rgb = read_image(examples / "astronaut.jpg")[: size[1], 150 : 150 + size[0]]
    contestant = load_contestant(model.upper(), threshold=SINGLE.threshold)
    assert isinstance(contestant, OnnxContestant)
    assert contestant.name == model
    expected = Detector(model, threads=1).detect(rgb, SINGLE)
    found = contestant.detect(rgb[:, :, ::-1])
    assert len(found) > 0
    assert np.array_equal(found.boxes, expected.boxes)
    assert np.array_equal(found.scores, expected.scores)


def test_the_stages_in_a_row_are_the_detection(toy: str) -> None:
    bgr = np.zeros((48, 64, 3), np.uint8)
    bgr[24:32, 8:16] = 0, 6, 200
    contestant = load_contestant(toy)
    assert isinstance(contestant, StagedContestant)
    inputs = contestant.prepare(bgr)
    assert inputs.shape == (1, 3, 48, 64)
    staged = contestant.finish(contestant.infer(inputs), bgr)
    assert staged == contestant.detect(bgr)
    assert staged.boxes.tolist() == [[6, 22, 18, 34]]
    assert contestant.detect(bgr // 2).boxes.tolist() == []


def test_only_files_with_a_free_batch_take_batches(toy: str) -> None:
    contestant = load_contestant(toy)
    assert isinstance(contestant, OnnxContestant)
    assert contestant.takes_batches
    inputs = np.repeat(contestant.prepare(np.full((16, 16, 3), 9, np.uint8)), 3, axis=0)
    assert [output.shape[0] for output in contestant.infer(inputs)] == [3, 3]


def test_an_input_that_does_not_fit_is_named(toy: str) -> None:
    contestant = load_contestant(toy)
    assert isinstance(contestant, OnnxContestant)
    with pytest.raises(ValueError, match="toy cannot run on 7 x 5 px"):
        contestant.infer(np.zeros((1, 4, 5, 7), np.float32))


@pytest.mark.parametrize(("threads", "name"), [(-1, "toy"), (1, "broken"), (1, "absent")])
def test_files_that_cannot_be_opened_are_named(
    toy: str, tmp_path: Path, threads: int, name: str
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    path = Path(toy) if name == "toy" else tmp_path / f"{name}.onnx"
    with pytest.raises((ValueError, FileNotFoundError), match=f"{name}|threads is -1"):
        open_session(path, threads)


@given(
    st.lists(st.tuples(*[st.integers(0, 60)] * 4, st.integers(0, 100)), max_size=40),
    st.sampled_from([0.02, 0.5]),
    st.sampled_from([0.3, 0.45]),
)
def test_kept_boxes_are_sure_apart_and_in_order(
    rows: list[tuple[int, ...]], threshold: float, nms_iou: float
) -> None:
    values = np.array(rows, np.float32).reshape(-1, 5)
    boxes, scores = best_boxes(values[:, :4], values[:, 4] / 100, threshold, nms_iou)
    assert (scores > threshold).all()
    assert (np.diff(scores) <= 0).all()
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    overlaps = iou(boxes, boxes)
    np.fill_diagonal(overlaps, 0)
    assert overlaps.max(initial=0) <= nms_iou + 1e-6


def test_boxes_that_are_not_finite_are_dropped() -> None:
    boxes = np.array([[0, 0, np.inf, 4], [0, 0, 4, np.nan], [1, 1, 4, 4]], np.float32)
    kept, scores = best_boxes(boxes, np.ones(3, np.float32), 0.5, 0.3)
    assert kept.tolist() == [[1, 1, 4, 4]]
    assert scores.tolist() == [1]


def test_faces_end_at_the_borders_of_the_picture() -> None:
    boxes = np.array([[20, 2, 30, 9], [-5, -2, 4, 3], [12, 6, 25, 14]], np.float32)
    found = best_faces(boxes, np.array([1.5, 0.5, 0.25], np.float32), 20, 10)
    assert found.boxes.tolist() == [[0, 0, 4, 3], [12, 6, 20, 10]]
    assert found.scores.tolist() == [0.5, 0.25]
