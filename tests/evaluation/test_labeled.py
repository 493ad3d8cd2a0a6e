from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.data.sample import Sample
from extd.evaluation.labeled import evaluate_labeled
from extd.evaluation.predictions import Prediction
from extd.pixels import Image

SMALL, LARGE, IGNORED = (10.0, 10, 30, 30), (50.0, 20, 170, 140), (5.0, 100, 45, 140)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((150, 200, 3), np.uint8))
    faces = np.array([SMALL, LARGE], np.float32)
    return Sample(path, 200, 150, faces, np.array([IGNORED], np.float32))


def found(*boxes: tuple[float, ...]) -> Prediction:
    rows = np.array(boxes, float).reshape(-1, 4)
    rows[:, 2:] -= rows[:, :2]
    return Prediction(rows, np.linspace(0.9, 0.1, len(rows)))


def plant(boxes: tuple[tuple[float, ...], ...], _: Image) -> Prediction:
    return found(*boxes)


def test_faces_count_by_their_size(sample: Sample) -> None:
    result = evaluate_labeled(lambda _: found(LARGE), [sample])
    assert (result.images, result.faces) == (1, {"all": 2, "small": 1, "medium": 0, "large": 1})
    assert result.ap["all"] == pytest.approx(0.5)
    assert result.ap["small"] == 0
    assert result.ap["large"] == 1
    assert math.isnan(result.ap["medium"])


def test_ignored_regions_neither_help_nor_harm(sample: Sample) -> None:
    wrong = (120.0, 100, 140, 120)
    for extra, ap in ((IGNORED, 1.0), (wrong, 5 / 6)):
        result = evaluate_labeled(partial(plant, (SMALL, extra, LARGE)), [sample])
        assert result.ap["all"] == pytest.approx(ap, abs=2e-3), extra


def test_boxes_in_an_ignored_region_say_nothing_unless_they_find_a_face(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((300, 300, 3), np.uint8))
    face, crowd = (110.0, 110, 140, 140), (100.0, 100, 300, 300)
    within, beside = (200.0, 200, 230, 230), (75.0, 200, 105, 230)
    sample = Sample(path, 300, 300, np.array([face], np.float32), np.array([crowd], np.float32))
    for boxes, ap in (((within, within, face), 1.0), ((beside, face), 0.5), ((within,), 0.0)):
        result = evaluate_labeled(partial(plant, boxes), [sample])
        assert result.ap["all"] == pytest.approx(ap, abs=2e-3), boxes


def test_each_image_is_read_once_and_in_order(sample: Sample) -> None:
    seen: list[Image] = []

    def detect(image: Image) -> Prediction:
        seen.append(image)
        return found(SMALL, LARGE)

    assert evaluate_labeled(detect, [sample, sample]).ap["all"] == 1
    assert [image.shape for image in seen] == [(150, 200, 3)] * 2


def test_nothing_labeled_is_an_error(sample: Sample) -> None:
    none = np.zeros((0, 4), np.float32)
    with pytest.raises(ValueError, match="no image has a labeled face"):
        evaluate_labeled(lambda _: found(), [Sample(sample.path, 200, 150, none, none)])


def test_false_positives_in_images_without_faces_count(sample: Sample, tmp_path: Path) -> None:
    blank = tmp_path / "b.png"
    cv2.imwrite(str(blank), np.full((150, 200, 3), 255, np.uint8))
    empty = Sample(blank, 200, 150, np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32))

    def detect(image: Image) -> Prediction:
        sure, unsure = ([SMALL, LARGE], []) if image.max() == 0 else ([], [LARGE])
        rows = np.array(sure + unsure, float)
        rows[:, 2:] -= rows[:, :2]
        return Prediction(rows, np.array([0.5] * len(sure) + [0.9] * len(unsure)))

    assert evaluate_labeled(detect, [sample]).ap["all"] == 1
    assert evaluate_labeled(detect, [sample, empty]).ap["all"] == pytest.approx(2 / 3)
