from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from extd.detector import Detector
from extd.measure.evaluation import evaluate_folder, evaluate_saved, find_pictures, report
from extd.measure.predictions import Prediction, write_predictions
from extd.measure.protocols import single
from extd.measure.wider import Picture, evaluate, load_ground_truth
from extd.models.checkpoint import convert_official
from extd.models.export import export_onnx


def bright_square(image: NDArray[np.uint8]) -> Prediction:
    """A detector of one bright square, whose size is its score."""
    ys, xs = np.nonzero(image.max(axis=2) > 128)
    side = xs.max() - xs.min()
    return Prediction([[xs.min(), ys.min(), side, ys.max() - ys.min()]], [float(side)])


@pytest.fixture
def wider(tmp_path: Path) -> tuple[Path, list[Picture]]:
    """Two pictures with a bright square each, and the ground truth of three."""
    truth = []
    for event, name, side in (
        ("0--Parade", "0_Parade_1", 16),
        ("1--Handshaking", "1_Handshaking_1", 32),
        ("1--Handshaking", "1_Handshaking_2", 48),
    ):
        square = np.array([[8.0, 24.0, side - 1.0, side - 1.0]])
        truth.append(Picture(event, name, square, np.array([[side > 16], [True], [True]])))
        if side < 48:
            image = np.zeros((96, 128, 3), np.uint8)
            image[24 : 24 + side, 8 : 8 + side] = 255
            path = tmp_path / "images" / event / f"{name}.jpg"
            path.parent.mkdir(parents=True)
            assert cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    return tmp_path, truth


def test_scores_the_pictures_of_a_folder_against_their_part_of_the_ground_truth(
    wider: tuple[Path, list[Picture]],
) -> None:
    folder, truth = wider
    evaluation, predictions = evaluate_folder(bright_square, folder, truth)
    assert evaluation.images == 2
    assert evaluation.ap == {"easy": 1, "medium": 1, "hard": 1}
    assert list(predictions) == ["0--Parade/0_Parade_1", "1--Handshaking/1_Handshaking_1"]
    assert evaluate_folder(bright_square, folder / "images", truth)[0].ap == evaluation.ap


def test_progress_sees_every_picture_as_it_is_worked_through(
    wider: tuple[Path, list[Picture]],
) -> None:
    folder, truth = wider
    seen: list[str] = []

    def progress(pictures):  # type: ignore[no-untyped-def]
        for picture in pictures:
            yield picture
            seen.append(picture.name)

    evaluate_folder(bright_square, folder, truth, progress)
    assert seen == ["0_Parade_1", "1_Handshaking_1"]


def test_saved_predictions_evaluate_to_the_same(
    wider: tuple[Path, list[Picture]], tmp_path: Path
) -> None:
    folder, truth = wider
    evaluation, predictions = evaluate_folder(bright_square, folder, truth)
    elsewhere = {truth[2].key: Prediction(np.zeros((1, 4)), [99.0])}
    write_predictions(tmp_path / "saved", predictions | elsewhere)
    again, used = evaluate_saved(tmp_path / "saved", folder, truth)
    assert again.images == 2
    assert again.ap == evaluation.ap
    assert used.keys() == predictions.keys()


def test_a_picture_without_saved_predictions_is_named(
    wider: tuple[Path, list[Picture]], tmp_path: Path
) -> None:
    folder, truth = wider
    write_predictions(tmp_path / "saved", {truth[1].key: Prediction(np.zeros((0, 4)), [])})
    with pytest.raises(ValueError, match=r"1 of 2 pictures .*saved/0--Parade/0_Parade_1\.txt"):
        evaluate_saved(tmp_path / "saved", folder, truth)


def test_a_broken_picture_is_named(wider: tuple[Path, list[Picture]]) -> None:
    folder, truth = wider
    (folder / "images/0--Parade/0_Parade_1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"0_Parade_1\.jpg"):
        evaluate_folder(bright_square, folder, truth)


def test_a_picture_without_ground_truth_is_named(wider: tuple[Path, list[Picture]]) -> None:
    folder, truth = wider
    (folder / "images/0--Parade/holiday.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holiday\.jpg is not in the ground truth"):
        find_pictures(folder, truth)


def test_a_folder_without_pictures_says_where_they_are_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"EVENT/PICTURE\.jpg"):
        find_pictures(tmp_path, [])


def test_report_is_json_with_null_where_no_face_counts() -> None:
    faces = np.array([[0.0, 0.0, 20.0, 20.0]] * 3) + np.array([[50.0], [100.0], [200.0]])
    truth = [Picture("0--Parade", "a", faces, np.array([[False] * 3, [True] * 3, [True] * 3]))]
    evaluation = evaluate({"0--Parade/a": Prediction(faces[:1], [0.5])}, truth)
    assert json.loads(json.dumps(report(evaluation, "extd-fpn-32-prelu", "single"))) == {
        "images": 1,
        "model": "extd-fpn-32-prelu",
        "protocol": "single",
        "ap": {"easy": None, "medium": 0.33333, "hard": 0.33333},
    }


def check_reference(shared: Path, tmp_path: Path, width: int) -> None:
    """The authors' checkpoint, through our network, export, runtime, detector and evaluation."""
    network = convert_official(shared / f"official/EXTD_{width}.pth")
    export_onnx(network, tmp_path / "model.onnx")
    detect = partial(single, Detector(tmp_path / "model.onnx"))
    data = shared / "data/wider_dev"
    truth = load_ground_truth(data / "ground_truth")
    evaluation, _ = evaluate_folder(detect, data / "WIDER_val", truth)
    reference = json.loads((shared / "official/reference.json").read_text())
    assert evaluation.images == reference["pictures"]
    assert evaluation.ap == pytest.approx(reference["single"][str(width)], abs=0.002)


@pytest.mark.shared
def test_the_smallest_official_checkpoint_has_its_reference_ap(
    shared: Path, tmp_path: Path
) -> None:
    check_reference(shared, tmp_path, 32)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("width", [48, 64])
def test_official_checkpoints_have_their_reference_ap(
    shared: Path, tmp_path: Path, width: int
) -> None:
    check_reference(shared, tmp_path, width)
