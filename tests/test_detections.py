from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from extd.boxes import VOTERS
from extd.detections import (
    Augmentation,
    Detections,
    apply,
    pool,
    rescale,
    select,
    shift,
    suppress,
    undo,
)


def detections(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> Detections:
    """Each with landmarks that tell which box they belong to."""
    points = np.arange(len(boxes), dtype=np.float32)[:, None, None].repeat(5, 1).repeat(2, 2)
    return Detections(boxes, scores, points)


@st.composite
def some_boxes(draw: st.DrawFn) -> NDArray[np.float32]:
    corner = st.tuples(st.floats(-9, 30, width=32), st.floats(-9, 30, width=32))
    side = st.tuples(st.floats(1, 20, width=32), st.floats(1, 20, width=32))
    rows = draw(st.lists(st.tuples(corner, side), min_size=1, max_size=12))
    return np.array([(x, y, x + w, y + h) for (x, y), (w, h) in rows], np.float32)


def test_boxes_of_an_untrained_network_vote_too() -> None:
    boxes = np.array([[-1e20, -1e20, 1e20, 1e20], [-1e20, -1e20, 1e20, 2e20]], np.float32)
    found = suppress(detections(boxes, np.array([0.6, 0.3], np.float32)), 0, 0.3, votes=True)
    third = 1e20 * (1 + 0.3 * 2 / 3 / (0.6 + 0.3 * 2 / 3))
    assert found.boxes == pytest.approx(np.array([[-1e20, -1e20, 1e20, third]]))


@given(some_boxes(), st.integers(0, 99), st.floats(0, 0.9))
def test_a_vote_does_not_depend_on_the_threshold(
    boxes: NDArray[np.float32], seed: int, threshold: float
) -> None:
    scores = np.random.default_rng(seed).uniform(0.05, 1, len(boxes)).astype(np.float32)
    every = detections(boxes, scores)
    whole = suppress(every, 0, 0.3, votes=True)
    likely = select(every, scores > threshold * VOTERS)
    found = suppress(likely, threshold, 0.3, votes=True)
    sure = select(whole, whole.scores > threshold)
    assert np.array_equal(found.scores, sure.scores)
    assert np.array_equal(found.landmarks, sure.landmarks)
    assert found.boxes == pytest.approx(sure.boxes, abs=1e-4)


def test_landmarks_move_with_their_boxes() -> None:
    boxes = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.float32)
    found = detections(boxes, np.ones(2, np.float32))
    moved = shift(rescale(found, 2, 3), 10, 20)
    assert moved.boxes.tolist() == [[10, 23, 14, 29], [18, 35, 22, 41]]
    assert moved.landmarks[1, 0].tolist() == [12, 23]
    both = pool([found, moved])
    assert len(both.scores) == 4
    assert select(both, np.array([3])).boxes.tolist() == [[18, 35, 22, 41]]


augmentations = st.builds(Augmentation, st.integers(0, 3), st.booleans())


@given(augmentations, st.data())
def test_boxes_and_landmarks_go_with_their_pixels(
    augmentation: Augmentation, data: st.DataObject
) -> None:
    height, width = 20, 30
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    image = np.zeros((height, width, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    rows, columns = np.nonzero(apply(image, augmentation)[:, :, 0])
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    # All landmarks in the corner that the box's own first corner has become, or another.
    points = np.array([[seen[:2]] * 5], np.float32)
    found = Detections(np.array([seen], np.float32), np.ones(1, np.float32), points)
    boxes, _, landmarks = undo(found, augmentation, width, height)
    assert boxes.tolist() == [[x1, y1, x2, y2]]
    assert np.isin(landmarks[..., 0], (x1, x2)).all()
    assert np.isin(landmarks[..., 1], (y1, y2)).all()


def test_the_eyes_of_a_mirrored_face_change_sides() -> None:
    points = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
    found = Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), points)
    _, _, landmarks = undo(found, Augmentation(0, mirrored=True), 100, 50)
    assert landmarks[0].tolist() == [[98, 3], [100, 1], [96, 5], [92, 9], [94, 7]]


def test_turns_are_clockwise_and_nothing_is_copied() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 255
    turned = apply(image, Augmentation(1, mirrored=False))
    assert turned.shape == (3, 2, 3)
    assert turned[0, 1, 0] == 255
    assert np.shares_memory(turned, image)
    assert np.shares_memory(apply(image, Augmentation(3, mirrored=True)), image)
