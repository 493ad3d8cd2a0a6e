from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from extd.boxes import (
    VOTE_SHARE,
    area,
    clip,
    intersection,
    iou,
    longer_side,
    nms,
    vote,
)

# Whole pixels in a small space overlap often, and their IoU is exact.
CORNER = st.integers(-20, 60)
SIDE = st.integers(1, 40)


@st.composite
def some_boxes(draw: st.DrawFn, largest: int = 40) -> NDArray[np.float32]:
    rows = draw(st.lists(st.tuples(CORNER, CORNER, SIDE, SIDE), max_size=largest))
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32)
    return boxes.reshape(-1, 4)


def pixels(box: NDArray[np.float32]) -> set[tuple[int, int]]:
    x1, y1, x2, y2 = (int(value) for value in box)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


def greedy(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> list[int]:
    """The definition of non-maximum suppression, box by box."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        overlaps = iou(boxes[i : i + 1], boxes[kept])[0].astype(float)
        if not (overlaps > threshold).any():
            kept.append(i)
    return kept


@given(some_boxes(5), some_boxes(5))
def test_iou_counts_shared_pixels(a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
    ratios = iou(a, b)
    assert ratios.shape == (len(a), len(b))
    for i, j in np.ndindex(ratios.shape):
        one, other = pixels(a[i]), pixels(b[j])
        assert ratios[i, j] == pytest.approx(len(one & other) / len(one | other), abs=1e-6)


def test_boxes_without_area_overlap_nothing() -> None:
    point = np.array([[3, 3, 3, 3]], np.float32)
    square = np.array([[0, 0, 9, 9]], np.float32)
    assert iou(point, point) == iou(point, square) == 0


@given(some_boxes(), st.data())
def test_nms_is_the_greedy_definition(boxes: NDArray[np.float32], data: st.DataObject) -> None:
    # Few levels, so that equal scores occur; thresholds that no IoU of whole pixels equals.
    levels = data.draw(
        st.lists(st.integers(1, 20), min_size=len(boxes), max_size=len(boxes)), label="levels"
    )
    scores = np.array(levels, np.float32) / np.float32(20)
    threshold = data.draw(st.sampled_from([0.1111, 0.3001, 0.4501, 0.7001, 1.0]), label="threshold")
    assert nms(boxes, scores, threshold).tolist() == greedy(boxes, scores, threshold)


def test_nms_of_many_real_valued_boxes() -> None:
    rng = np.random.default_rng(0)
    centers = rng.uniform(0, 500, (100, 2))[rng.integers(0, 100, 2000)]
    centers += rng.normal(0, 4, centers.shape)
    half = rng.uniform(5, 30, (2000, 1))
    boxes = np.hstack([centers - half, centers + half]).astype(np.float32)
    scores = rng.uniform(0.01, 1, 2000).astype(np.float32)
    assert nms(boxes, scores, 0.3).tolist() == greedy(boxes, scores, 0.3)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.6])
@given(st.integers(0, 10_000), st.integers(1, 600), st.integers(1, 80))
def test_nms_is_that_of_opencv(threshold: float, seed: int, count: int, faces: int) -> None:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 400, (faces, 2))[rng.integers(0, faces, count)]
    centers += rng.normal(0, 5, centers.shape)
    half = rng.uniform(1, 40, (count, 2))
    boxes = np.hstack([centers - half, centers + half]).astype(np.float32)
    scores = rng.integers(1, 200, count).astype(np.float32) / 200
    # OpenCV rounds otherwise.
    assume((np.abs(iou(boxes, boxes) - threshold) > 3e-7).all())
    corner_and_size = boxes.astype(np.float64)
    corner_and_size[:, 2:] -= corner_and_size[:, :2]
    expected = cv2.dnn.NMSBoxes(corner_and_size, scores, 0.0, threshold)
    assert nms(boxes, scores, threshold).tolist() == list(expected)


def test_nms_keeps_a_pair_that_overlaps_exactly_by_the_threshold() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    scores = np.array([0.5, 0.9], np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [1, 0]
    assert nms(boxes, scores, 0.499).tolist() == [1]


@given(some_boxes(), st.integers(0, 99))
def test_a_vote_is_the_mean_by_score_and_overlap(boxes: NDArray[np.float32], seed: int) -> None:
    scores = np.random.default_rng(seed).uniform(0.05, 1, len(boxes)).astype(np.float32)
    kept = nms(boxes, scores, 0.3001)
    voted = vote(boxes, scores, kept, 0.3001)
    assert voted.dtype == np.float32
    assert voted.shape == (len(kept), 4)
    for best, moved in zip(kept, voted, strict=True):
        overlaps = iou(boxes[[best]], boxes)[0]
        voters = (overlaps > 0.3001) & (scores >= VOTE_SHARE * scores[best])
        expected = np.average(boxes[voters], axis=0, weights=(overlaps * scores)[voters])
        assert moved == pytest.approx(expected, abs=1e-3)


def test_votes_of_a_crowd_of_all_sizes_are_those_of_its_boxes_one_by_one() -> None:
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(4), np.log(400), (900, 1))) * rng.uniform(0.8, 1.2, (900, 2))
    corner = rng.uniform(-50, 600, (900, 2))
    boxes = np.hstack([corner, corner + sides]).astype(np.float32)
    scores = rng.uniform(0.01, 1, 900).astype(np.float32)
    kept = nms(boxes, scores, 0.3)
    together = vote(boxes, scores, kept, 0.3)
    alone = np.concatenate([vote(boxes, scores, kept[i : i + 1], 0.3) for i in range(len(kept))])
    assert len(kept) > 100
    assert not np.array_equal(together, boxes[kept])
    assert together == pytest.approx(alone, abs=1e-3)


def test_a_box_alone_stays_where_it_is_in_any_crowd() -> None:
    places = np.arange(600, dtype=np.float32)[:, None] * 10
    boxes = np.hstack([places, places, places + 7.3, places + 9.1])
    boxes[-1] = 3  # without area, it overlaps not even itself
    scores = np.linspace(0.9, 0.1, 600, dtype=np.float32)
    kept = nms(boxes, scores, 0.3)
    assert np.allclose(vote(boxes, scores, kept, 0.3), boxes[kept], rtol=1e-6)


@given(some_boxes())
def test_clipping_keeps_the_pixels_inside(boxes: NDArray[np.float32]) -> None:
    inside = clip(boxes, 30, 20)
    frame = pixels(np.array([0, 0, 30, 20], np.float32))
    for box, clipped in zip(boxes, inside, strict=True):
        assert pixels(clipped) == pixels(box) & frame
    assert inside.dtype == np.float32


def test_the_intersection_is_what_two_boxes_share() -> None:
    boxes = np.array([[0, 0, 4, 4], [2, 1, 9, 9], [4, 4, 9, 9]], np.float32)
    assert intersection(boxes[:1], boxes).tolist() == [[16, 6, 0]]


def test_sides_and_area() -> None:
    boxes = np.array([[0, 0, 3, 7], [5, 5, 4, 9]], np.float32)
    assert longer_side(boxes[:1]).tolist() == [7]
    assert area(boxes).tolist() == [21, 0]
