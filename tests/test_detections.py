from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from extd.boxes import VOTERS
from extd.detections import Detections, pool, rescale, select, shift, suppress


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
