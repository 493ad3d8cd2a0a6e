from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.images import Image, read_image
from extd.measure.fddb import (
    Picture,
    evaluate_fddb,
    plot_roc,
    read_annotations,
    region_overlaps,
    report,
    roc_rows,
    score_changes,
)
from extd.measure.predictions import Prediction

LIST = """2002/07/19/big/img_1
2
40.0 30.0 1.5708 100.5 80.25  1
20 15 -0.2 30 40  1
2002/07/19/big/img_2
1
20.5 12.0 0.0 60 50  1
"""


def found(*rows: tuple[float, ...]) -> Prediction:
    values = np.reshape(np.array(rows, np.float64), (-1, 5))
    return Prediction(values[:, :4], values[:, 4])


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    (tmp_path / "FDDB-fold-01-ellipseList.txt").write_text(LIST, encoding="utf-8")
    (tmp_path / "FDDB-fold-01.txt").write_text("not annotations\n", encoding="utf-8")
    return tmp_path


def test_the_lists_of_a_folder_are_read(folds: Path) -> None:
    first, second = read_annotations(folds)
    assert (first.name, second.name) == ("2002/07/19/big/img_1", "2002/07/19/big/img_2")
    assert first.ellipses.tolist()[0] == [40, 30, 1.5708, 100.5, 80.25]
    assert [len(first.ellipses), len(second.ellipses)] == [2, 1]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("\n1\n", "\none\n", r"fold-01-ellipseList\.txt, line 6: expected the number of faces"),
        ("20 15 -0.2 30 40  1\n", "", "line 4: expected major radius"),
        ("20 15", "20 -15", "line 4"),
        ("20 15", "20 1e9", "line 4"),
        ("img_2", "img_1", "lists 2002/07/19/big/img_1 again"),
    ],
)
def test_a_wrong_line_is_named(folds: Path, before: str, after: str, message: str) -> None:
    path = folds / "FDDB-fold-01-ellipseList.txt"
    path.write_text(LIST.replace(before, after), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_annotations(folds)
    with pytest.raises(FileNotFoundError, match="FDDB-fold-01"):
        read_annotations(folds / "none")


@given(
    st.lists(
        st.tuples(*[st.floats(3, 40)] * 2, st.floats(-2, 2), *[st.floats(-10, 110)] * 2),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.tuples(*[st.floats(-20, 100)] * 2, *[st.floats(0, 60)] * 2), max_size=3),
)
def test_overlaps_are_those_of_painted_regions(
    ellipses: list[tuple[float, ...]], boxes: list[tuple[float, ...]]
) -> None:
    width, height = 100, 80
    overlaps = region_overlaps(
        np.array(ellipses), np.reshape(np.array(boxes), (-1, 4)), width, height
    )
    for (major, minor, angle, cx, cy), row in zip(ellipses, overlaps, strict=True):
        face = np.zeros((height, width), np.uint8)
        centre, axes = (round(cx), round(cy)), (int(major), int(minor))
        cv2.ellipse(face, centre, axes, math.degrees(angle), 0, 360, 1, cv2.FILLED)
        for (x, y, w, h), overlap in zip(boxes, row, strict=True):
            box = np.zeros_like(face)
            cv2.rectangle(box, (round(x), round(y)), (round(x + w), round(y + h)), 1, cv2.FILLED)
            union = int((face | box).sum())
            assert overlap == pytest.approx(int((face & box).sum()) / max(union, 1))


def test_an_upright_ellipse_covers_most_of_its_box() -> None:
    ellipse = np.array([[50.0, 30.0, math.pi / 2, 100.0, 100.0]])
    (overlap,) = region_overlaps(ellipse, np.array([[70.0, 50, 60, 100]]), 200, 200)[0]
    assert overlap == pytest.approx(math.pi / 4, abs=0.01)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_sums_are_those_of_the_best_matching_at_every_threshold(
    faces: int, detections: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    overlaps = random.choice([0, 0.3, 0.45, 0.51, 0.8], (faces, detections))
    overlaps = overlaps * random.uniform(0.99, 1, overlaps.shape)
    scores = random.choice([0.2, 0.5, 0.9], detections)
    changes = score_changes(overlaps, scores)
    for threshold in np.unique(scores):
        valid = np.flatnonzero(scores >= threshold)
        # Slots without a detection let a face stay unmatched.
        slots = [*valid, *[-1] * faces]
        best = max(
            (
                [overlaps[g, n] for g, n in enumerate(chosen) if n >= 0]
                for chosen in set(permutations(slots, faces))
            ),
            key=sum,
        )
        continuous, discrete, false = changes[changes[:, 0] >= threshold][:, 1:].sum(0)
        hits = sum(overlap > 0.5 for overlap in best)
        assert continuous == pytest.approx(sum(best))
        assert (discrete, false) == (hits, len(valid) - hits)


def test_the_curve_by_hand(folds: Path, tmp_path: Path) -> None:
    pictures = read_annotations(folds)
    for picture in pictures:
        path = tmp_path / f"{picture.name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((150, 200, 3), np.uint8))
    answers = iter(
        [
            # The first face well, a shadow of it, and nothing near the second.
            found((70, 40, 60, 80, 0.9), (72, 42, 60, 80, 0.8), (150, 5, 20, 20, 0.7)),
            found((120, 100, 30, 30, 0.95), (40, 38, 40, 24, 0.7)),
        ]
    )

    def detect(image: Image) -> Prediction:
        assert image.shape == (150, 200, 3)
        return next(answers)

    roc = evaluate_fddb(detect, tmp_path, pictures)
    assert (roc.images, roc.faces) == (2, 3)
    assert roc.thresholds.tolist() == [0.95, 0.9, 0.8, 0.7]
    assert roc.false_positives.tolist() == [1, 1, 2, 3]
    assert roc.discrete.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3])
    # Ellipses cover 0.785 of the boxes around them.
    assert roc.continuous[-1] == pytest.approx(2 * 0.785 / 3, abs=0.02)
    assert roc.rates(0) == (0, 0)
    assert roc.rates(2)[0] == pytest.approx(1 / 3)
    summary = report(roc, "m", "single")
    assert summary["discrete"] == dict.fromkeys(("10", "100", "500", "1000", "2000"), 0.66667)
    assert [row["false_positives"] for row in roc_rows(roc)] == [1, 1, 2, 3]
    plot_roc(roc, "m", tmp_path / "roc.png")
    assert read_image(tmp_path / "roc.png").std() > 0


def test_a_missing_picture_and_no_faces_are_errors(tmp_path: Path) -> None:
    one = Picture("a/b", np.array([[10.0, 10, 0, 20, 20]]))
    with pytest.raises(FileNotFoundError, match=r"b\.jpg"):
        evaluate_fddb(lambda _: found(), tmp_path, [one])
    with pytest.raises(ValueError, match="nothing to measure"):
        evaluate_fddb(lambda _: found(), tmp_path, [Picture("a/b", np.zeros((0, 5)))])
