from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from extd.evaluation.predictions import Prediction
from extd.evaluation.wider import (
    DIFFICULTIES,
    Evaluation,
    GroundTruth,
    evaluate,
    load_ground_truth,
    pixel_iou,
)


def image(name: str, boxes: list[tuple[float, ...]], **kept: list[int]) -> GroundTruth:
    """Ground truth whose faces `kept` (indices by difficulty) count; all, where not given."""
    keep = np.zeros((3, len(boxes)), np.bool_)
    for row, difficulty in zip(keep, DIFFICULTIES, strict=True):
        row[kept.get(difficulty, list(range(len(boxes))))] = True
    return GroundTruth(f"0--Parade/{name}", np.reshape(np.array(boxes, np.float64), (-1, 4)), keep)


def found(*detections: tuple[float, float, float, float, float]) -> Prediction:
    values = np.reshape(np.array(detections, np.float64), (-1, 5))
    return Prediction(values[:, :4], values[:, 4])


def score(truth: list[GroundTruth], **predictions: Prediction) -> Evaluation:
    return evaluate({f"0--Parade/{name}": value for name, value in predictions.items()}, truth)


def oracle(predictions: dict[str, Prediction], truth: list[GroundTruth], difficulty: int) -> float:
    """The official evaluation, one box, face and threshold at a time."""
    all_scores = [s for p in predictions.values() for s in p.scores.tolist()]
    low, high = min(all_scores, default=0.0), max(all_scores, default=0.0)
    totals = [[0, 0] for _ in range(1000)]
    faces = 0
    for pic in truth:
        keep = pic.keep[difficulty].tolist()
        faces += sum(keep)
        prediction = predictions[pic.key]
        rows = [
            (*box, (s - low) / (high - low) if high > low else 1.0)
            for box, s in zip(prediction.boxes.tolist(), prediction.scores.tolist(), strict=True)
        ]
        rows.sort(key=lambda row: -row[4])
        if not rows or not keep:
            continue
        seen: set[int] = set()
        counts, recalled = [True] * len(rows), []
        for r, (x, y, w, h, _) in enumerate(rows):
            best, best_face = -1.0, -1
            for f, (gx, gy, gw, gh) in enumerate(pic.boxes.tolist()):
                iw = min(x + w, gx + gw) - max(x, gx) + 1
                ih = min(y + h, gy + gh) - max(y, gy) + 1
                overlap = 0.0
                if iw > 0 and ih > 0:
                    union = (w + 1) * (h + 1) + (gw + 1) * (gh + 1) - iw * ih
                    overlap = iw * ih / union
                if overlap > best:
                    best, best_face = overlap, f
            if best >= 0.5:
                if keep[best_face]:
                    seen.add(best_face)
                else:
                    counts[r] = False
            recalled.append(len(seen))
        for t in range(1000):
            passing = sum(row[4] >= 1 - (t + 1) / 1000 for row in rows)
            if passing:
                totals[t][0] += sum(counts[:passing])
                totals[t][1] += recalled[passing - 1]
    if not faces:
        return math.nan
    recall = [0.0] + [hits / faces for _, hits in totals] + [1.0]
    precision = [0.0] + [hits / n if n else 0.0 for n, hits in totals] + [0.0]
    for i in reversed(range(1001)):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, 1002))


# Few positions and sizes, so that boxes often overlap, tie and repeat.
coordinate = st.integers(0, 6).map(lambda n: n * 2.5)
side = st.integers(0, 4).map(lambda n: n * 5.0)
box = st.tuples(coordinate, coordinate, side, side)
detection = st.tuples(coordinate, coordinate, side, side, st.integers(0, 20).map(lambda n: n / 20))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[dict[str, Prediction], list[GroundTruth]]:
    predictions, truth = {}, []
    for name in "abc"[: draw(st.integers(1, 3))]:
        boxes = draw(st.lists(box, max_size=6))
        indices = (
            st.lists(st.sampled_from(range(len(boxes))), unique=True) if boxes else st.just([])
        )
        truth.append(image(name, boxes, **{level: draw(indices) for level in DIFFICULTIES}))
        predictions[truth[-1].key] = found(*draw(st.lists(detection, max_size=10)))
    return predictions, truth


@given(scenes())
def test_equals_a_plain_loop_over_boxes_faces_and_thresholds(
    scene: tuple[dict[str, Prediction], list[GroundTruth]],
) -> None:
    predictions, truth = scene
    evaluation = evaluate(predictions, truth)
    for index, difficulty in enumerate(DIFFICULTIES):
        expected = oracle(predictions, truth, index)
        assert evaluation.ap[difficulty] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(scenes())
def test_curves_are_fractions_and_recall_grows_as_the_threshold_falls(
    scene: tuple[dict[str, Prediction], list[GroundTruth]],
) -> None:
    evaluation = evaluate(*scene)
    for curve in evaluation.curves.values():
        assert curve.recall.shape == curve.precision.shape == (1000,)
        assert ((curve.precision >= 0) & (curve.precision <= 1)).all()
        if not np.isnan(curve.recall).any():
            assert (np.diff(curve.recall) >= 0).all()
            assert 0 <= curve.ap <= curve.recall[-1] <= 1


@given(scenes(), st.randoms(use_true_random=False))
def test_distinct_scores_make_the_order_of_the_file_irrelevant(
    scene: tuple[dict[str, Prediction], list[GroundTruth]], random: object
) -> None:
    predictions, truth = scene
    distinct = {
        key: Prediction(p.boxes, np.arange(len(p), dtype=np.float64))
        for key, p in predictions.items()
    }
    turned = {key: Prediction(p.boxes[::-1], p.scores[::-1]) for key, p in distinct.items()}
    np.testing.assert_equal(evaluate(distinct, truth).ap, evaluate(turned, truth).ap)


def test_hand_computed_curve() -> None:
    truth = [image("a", [(0, 0, 20, 20), (100, 0, 20, 20)])]
    evaluation = score(
        truth,
        a=found(
            (0, 0, 20, 20, 1.0), (50, 50, 20, 20, 0.5), (100, 0, 20, 20, 0.25), (0, 90, 9, 9, 0)
        ),
    )
    # Found, false, found, false: precision 1 up to recall 1/2, then 2/3.
    assert evaluation.curves["easy"].ap == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    # Thresholds run from 0.999 to 0; number t is 1 - (t + 1) / 1000.
    assert evaluation.curves["easy"].recall[[0, 499, 748, 749, 999]].tolist() == [
        0.5,
        0.5,
        0.5,
        1,
        1,
    ]
    precision = evaluation.curves["easy"].precision[[0, 498, 499, 749, 998, 999]]
    assert precision.tolist() == pytest.approx([1, 1, 1 / 2, 2 / 3, 2 / 3, 2 / 4])


def test_a_second_detection_of_a_face_is_false() -> None:
    truth = [image("a", [(0, 0, 20, 20), (100, 0, 20, 20)])]
    evaluation = score(truth, a=found((0, 0, 20, 20, 1), (0, 0, 20, 19, 0.5), (100, 0, 20, 20, 0)))
    assert evaluation.curves["easy"].ap == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_ignored_faces_are_neither_hit_nor_miss() -> None:
    truth = [image("a", [(0, 0, 20, 20), (100, 0, 20, 20)], easy=[1])]
    evaluation = score(
        truth, a=found((0, 0, 20, 20, 1), (0, 0, 20, 19, 0.9), (100, 0, 20, 20, 0.5))
    )
    assert evaluation.curves["easy"].ap == 1
    # Where nothing counts yet there is no precision; it is 0 and costs nothing.
    assert evaluation.curves["easy"].precision[[0, 999]].tolist() == [0, 1]
    assert evaluation.curves["medium"].ap == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_a_box_belongs_to_the_face_that_it_overlaps_most() -> None:
    # Both faces are above IoU 0.5; the nearer one is ignored, so nothing is found.
    truth = [image("a", [(0, 0, 19, 19), (0, 0, 19, 24)], easy=[1])]
    assert score(truth, a=found((0, 0, 19, 20, 1))).ap["easy"] == 0
    assert score(truth, a=found((0, 0, 19, 24, 1))).ap["easy"] == 1


@pytest.mark.parametrize(("height", "ap"), [(4, 1.0), (3.9, 0.0)])
def test_sides_are_one_pixel_longer_and_iou_of_a_half_is_enough(height: float, ap: float) -> None:
    # (9 + 1) x (4 + 1) of (9 + 1) x (9 + 1) is exactly one half.
    assert score([image("a", [(0, 0, 9, 9)])], a=found((0, 0, 9, height, 1))).ap["hard"] == ap


def test_scores_are_normalized_over_all_images() -> None:
    truth = [image("a", [(0, 0, 20, 20)]), image("b", [(0, 0, 20, 20)])]
    logits = score(
        truth, a=found((0, 0, 20, 20, 12)), b=found((50, 50, 9, 9, -3), (9, 90, 9, 9, -8))
    )
    # -3 is (-3 + 8) / 20 = 0.25 of the way.
    assert logits.curves["easy"].precision[[748, 749]].tolist() == [1, 0.5]


def test_equal_scores_all_pass_every_threshold() -> None:
    truth = [image("a", [(0, 0, 20, 20)])]
    evaluation = score(truth, a=found((0, 0, 20, 20, 0.7), (50, 50, 9, 9, 0.7)))
    assert set(evaluation.curves["easy"].precision) == {0.5}


def test_images_without_an_entry_are_left_out_and_empty_entries_are_misses() -> None:
    truth = [image("a", [(0, 0, 20, 20)]), image("b", [(0, 0, 20, 20)])]
    alone = score(truth, a=found((0, 0, 20, 20, 1)))
    both = score(truth, a=found((0, 0, 20, 20, 1)), b=found())
    assert (alone.images, alone.ap["easy"]) == (1, 1)
    assert (both.images, both.ap["easy"]) == (2, 0.5)


def test_nothing_found_is_zero_and_no_face_is_undefined() -> None:
    evaluation = score([image("a", [(0, 0, 20, 20)], easy=[])], a=found())
    assert math.isnan(evaluation.ap["easy"])
    assert evaluation.ap["hard"] == 0


def test_unknown_images_and_no_predictions_are_refused() -> None:
    truth = [image("a", [(0, 0, 20, 20)])]
    with pytest.raises(ValueError, match="'0--Parade/b' is predicted but is not in the ground"):
        score(truth, a=found(), b=found())
    with pytest.raises(ValueError, match="no predictions to evaluate"):
        score(truth)


def test_a_face_of_negative_width_overlaps_nothing() -> None:
    # WIDER has one; with this box areas and overlap would add up to a union of 0.
    overlaps = pixel_iou(np.array([[0.0, 0, 5, 3]]), np.array([[50.0, 0, 48, 23]]))
    assert overlaps.tolist() == [[0.0]]


def cell(values: list[object]) -> np.ndarray:
    """A MATLAB cell array of one column."""
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def write_ground_truth(folder: Path) -> None:
    faces = [np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([[9, 10, 11, 12]])]
    names = {
        "event_list": cell(["0--Parade", "1--Handshaking"]),
        "file_list": cell([cell(["0_Parade_1"]), cell(["1_Handshaking_1"])]),
    }
    savemat(
        folder / "wider_face_val.mat",
        {**names, "face_bbx_list": cell([cell([faces[0]]), cell([faces[1]])])},
    )
    for difficulty, kept in (("easy", []), ("medium", [[2]]), ("hard", [[1], [2]])):
        lists = cell([cell([np.array(kept, np.uint8)]), cell([np.zeros((0, 0), np.uint8)])])
        savemat(folder / f"wider_{difficulty}_val.mat", {**names, "gt_list": lists})


def test_reads_the_official_mat_files(tmp_path: Path) -> None:
    write_ground_truth(tmp_path)
    parade, handshaking = load_ground_truth(tmp_path)
    assert (parade.key, handshaking.key) == (
        "0--Parade/0_Parade_1",
        "1--Handshaking/1_Handshaking_1",
    )
    assert parade.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert parade.keep.tolist() == [[False, False], [False, True], [True, True]]
    assert handshaking.boxes.tolist() == [[9, 10, 11, 12]]
    assert not handshaking.keep.any()


def test_missing_broken_and_foreign_mat_files_are_named(tmp_path: Path) -> None:
    write_ground_truth(tmp_path)
    hard = tmp_path / "wider_hard_val.mat"
    savemat(hard, {"nothing": 1})
    with pytest.raises(ValueError, match=r"wider_hard_val\.mat is not WIDER FACE's.*'event_list'"):
        load_ground_truth(tmp_path)
    hard.write_bytes(b"no MATLAB file" * 20)
    with pytest.raises(ValueError, match=r"wider_hard_val\.mat is not a MATLAB file"):
        load_ground_truth(tmp_path)
    hard.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*wider_hard_val\.mat"):
        load_ground_truth(tmp_path)


def test_missing_scipy_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r'pip install "extd\[eval\]"'):
        load_ground_truth(tmp_path)


@pytest.mark.shared
def test_official_lists_have_the_published_numbers_of_faces(shared: Path) -> None:
    truth = load_ground_truth(shared / "data/wider_dev/ground_truth")
    assert len(truth) == len({image.key for image in truth}) == 3226
    faces = np.sum([image.keep.sum(axis=1) for image in truth], axis=0)
    assert faces.tolist() == [7211, 13319, 31958]
