from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.data.sample import Sample
from extd.evaluation.labeled import coco_ap, score
from extd.evaluation.predictions import Prediction
from extd.evaluation.thresholds import interval, threshold_curve, write_curve

FACE, OTHER, BESIDE = (10.0, 10, 20, 20), (50.0, 20, 120, 120), (150.0, 100, 20, 20)


def sample(*faces: tuple[float, ...], ignore: tuple[tuple[float, ...], ...] = ()) -> Sample:
    boxes, regions = (np.array(rows, np.float32).reshape(-1, 4) for rows in (faces, ignore))
    for rows in (boxes, regions):
        rows[:, 2:] += rows[:, :2]
    return Sample(Path("a"), 200, 150, boxes, regions)


def found(*rows: tuple[tuple[float, ...], float]) -> Prediction:
    boxes = np.array([box for box, _ in rows], float).reshape(-1, 4)
    return Prediction(boxes, np.array([score for _, score in rows], float))


def test_a_curve_counts_what_the_threshold_passes() -> None:
    samples = [sample(FACE, OTHER), sample(ignore=(BESIDE,))]
    predictions = [found((OTHER, 0.9), (BESIDE, 0.8), (FACE, 0.4)), found((BESIDE, 0.95))]
    curve = threshold_curve(samples, predictions)
    points = [curve.at(threshold) for threshold in (0.95, 0.85, 0.8, 0.7, 0.1)]
    counts = [(point.hits, point.detections, point.faces) for point in points]
    assert counts == [(0, 0, 2), (1, 1, 2), (1, 1, 2), (1, 2, 2), (2, 3, 2)]
    assert math.isnan(points[0].precision)
    assert points[0].recall == 0
    assert (points[-1].precision, points[-1].recall) == (2 / 3, 1)


def test_a_second_detection_of_a_face_is_false() -> None:
    curve = threshold_curve([sample(FACE)], [found((FACE, 0.9), (FACE, 0.8))])
    assert (curve.at(0.5).hits, curve.at(0.5).detections) == (1, 2)


def test_suggestions_have_few_digits_and_keep_the_wish() -> None:
    curve = threshold_curve(
        [sample(FACE, OTHER)], [found((OTHER, 0.912345), (BESIDE, 0.8), (FACE, 0.4))]
    )
    point = curve.at_precision(0.9)
    assert point is not None
    assert (point.threshold, point.precision, point.recall) == (0.9, 1, 0.5)
    point = curve.at_recall(1)
    assert point is not None
    assert (point.threshold, point.recall) == (0.2, 1)
    missed = threshold_curve([sample(FACE, OTHER)], [found((BESIDE, 0.4))])
    assert missed.at_recall(0.1) is missed.at_precision(0.1) is None


@given(
    st.lists(st.tuples(st.sampled_from([FACE, OTHER, BESIDE]), st.floats(0.02, 1)), max_size=12),
    st.floats(0.05, 1),
)
def test_suggestions_are_the_best_there_are(
    rows: list[tuple[tuple[float, ...], float]], wish: float
) -> None:
    curve = threshold_curve([sample(FACE, OTHER)], [found(*rows)])
    every = [curve.at(np.nextafter(one, 0)) for one in curve.scores.tolist()]
    for point, reached, better in (
        (curve.at_precision(wish), "precision", "recall"),
        (curve.at_recall(wish), "recall", None),
    ):
        good = [one for one in every if getattr(one, reached) >= wish]
        assert (point is None) == (not good)
        if point is not None:
            assert getattr(point, reached) >= wish
            assert 0 <= point.threshold < 1
            assert better is None or point.recall == max(one.recall for one in good)


def test_few_faces_give_a_wide_interval() -> None:
    assert interval(0, 0) == (0, 1)
    assert interval(9, 10) == pytest.approx((0.596, 0.982), abs=1e-3)
    assert interval(900, 1000) == pytest.approx((0.880, 0.917), abs=1e-3)


def test_coco_s_ap_asks_for_tight_boxes() -> None:
    loose = (50.0, 20, 120, 90)  # IoU 0.75
    samples = [sample(FACE, OTHER), replace(sample(ignore=(BESIDE,)), path=Path("b"))]
    predictions = [found((FACE, 0.9), (loose, 0.8)), found((BESIDE, 0.95))]
    assert score(samples, predictions).ap["all"] == pytest.approx(1)
    # Both count at six IoUs; at four the recall is a half, which is 51 of 101 points.
    assert coco_ap(samples, predictions) == pytest.approx(0.6 + 0.4 * 51 / 101)
    assert coco_ap(samples, [found(), found()]) == 0


def test_a_curve_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    curve = threshold_curve([sample(FACE)], [found((FACE, 0.9))])
    with pytest.raises(ImportError, match="curves are drawn by the package matplotlib"):
        write_curve(tmp_path, curve, {})
    assert not list(tmp_path.iterdir())
