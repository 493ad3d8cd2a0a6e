from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.data.contact_sheet import SUSPICIOUS
from extd.data.sample import Sample
from extd.evaluation.comparison import (
    FALSE_POSITIVE,
    Detected,
    difference_interval,
    draw_errors,
    find_errors,
    run_detector,
)
from extd.evaluation.predictions import Prediction

FACES = np.array([[50, 60, 90, 110], [200, 150, 260, 200]], np.float32)
SMALL_FACE, LARGE_FACE = [50, 60, 40, 50], [200, 150, 60, 50]
NOTHING = [300, 20, 60, 60]


def found(*rows: tuple[list[int], float]) -> Prediction:
    boxes = np.array([box for box, _ in rows], np.float64).reshape(-1, 4)
    return Prediction(boxes, np.array([score for _, score in rows]))


GOOD = found((SMALL_FACE, 0.9), (LARGE_FACE, 0.8))
POOR = found((NOTHING, 0.9), (SMALL_FACE, 0.6))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((300, 400, 3), 128, np.uint8))
    ignore = np.empty((0, 4), np.float32)
    for number in range(1, 8):
        (tmp_path / f"{number}.png").write_bytes((tmp_path / "0.png").read_bytes())
    paths = sorted(tmp_path.glob("*.png"))
    return [Sample(path, 400, 300, FACES, ignore) for path in paths]


def detected(samples: list[Sample], *predictions: Prediction) -> Detected:
    answers = iter(predictions * len(samples))
    return run_detector(lambda _: next(answers), samples)


def test_a_detector_that_is_better_everywhere_is_better_beyond_noise(
    samples: list[Sample],
) -> None:
    poor, good = detected(samples, POOR), detected(samples, GOOD)
    assert (poor.ap["all"], good.ap["all"]) == (0.25, 1.0)
    assert difference_interval(poor, good) == pytest.approx((0.75, 0.75))
    assert difference_interval(good, good) == (0.0, 0.0)


def test_what_helps_half_of_the_images_and_harms_the_others_is_noise(
    samples: list[Sample],
) -> None:
    low, high = difference_interval(detected(samples, GOOD, POOR), detected(samples, POOR, GOOD))
    assert low < 0 < high
    assert (low, high) == difference_interval(
        detected(samples, GOOD, POOR), detected(samples, POOR, GOOD)
    )


def test_four_images_tell_nothing(samples: list[Sample]) -> None:
    few = samples[:4]
    interval = difference_interval(detected(few, POOR), detected(few, GOOD))
    assert interval == (-math.inf, math.inf)


def test_errors_are_the_missed_faces_and_the_false_positives(samples: list[Sample]) -> None:
    errors = find_errors(found((NOTHING, 0.7), (SMALL_FACE, 0.3), ([5, 5, 9, 9], 0.9)), samples[0])
    assert errors.missed.tolist() == [[200, 150, 260, 200], [50, 60, 90, 110]]
    assert errors.false.tolist() == [[5, 5, 14, 14], [300, 20, 360, 80]]
    assert errors.scores.tolist() == [0.9, 0.7]
    none = find_errors(GOOD, samples[0])
    assert len(none.missed) == len(none.false) == 0


def test_the_sheet_shows_both_kinds_of_errors(samples: list[Sample]) -> None:
    sheet = draw_errors(detected(samples, POOR, GOOD), count=2)
    assert sheet is not None
    for color in (SUSPICIOUS, FALSE_POSITIVE):
        assert (sheet[60:] == color).all(-1).sum() > 100
    assert draw_errors(detected(samples, GOOD)) is None
