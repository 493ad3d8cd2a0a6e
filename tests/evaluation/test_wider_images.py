from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from extd.detector import Detector
from extd.evaluation.predictions import Prediction, write_predictions
from extd.evaluation.protocols import single
from extd.evaluation.wider import (
    GroundTruth,
    evaluate,
    evaluate_detector,
    find_images,
    load_ground_truth,
    load_predictions,
    rounded,
)
from extd.models.export import export_onnx
from extd.models.network import convert_official


def bright_square(image: NDArray[np.uint8]) -> Prediction:
    """A detector of one bright square, whose size is its score."""
    ys, xs = np.nonzero(image.max(axis=2) > 128)
    side = xs.max() - xs.min()
    return Prediction([[xs.min(), ys.min(), side, ys.max() - ys.min()]], [float(side)])


@pytest.fixture
def truth() -> list[GroundTruth]:
    """Three images with a square face each; the smallest is not easy."""
    sides = {"0--Parade/0_Parade_1": 16, "1--Handshaking/1_Handshaking_1": 32}
    sides["1--Handshaking/1_Handshaking_2"] = 48
    return [
        GroundTruth(
            key,
            np.array([[8.0, 24.0, side - 1.0, side - 1.0]]),
            np.array([[side > 16], [True], [True]]),
        )
        for key, side in sides.items()
    ]


@pytest.fixture
def folder(tmp_path: Path, truth: list[GroundTruth]) -> Path:
    """A folder with the first two of these images."""
    for labels in truth[:2]:
        x, y, side, _ = labels.boxes[0].astype(int)
        image = np.zeros((96, 128, 3), np.uint8)
        image[y : y + side + 1, x : x + side + 1] = 255
        path = tmp_path / "images" / f"{labels.key}.jpg"
        path.parent.mkdir(parents=True)
        assert cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    return tmp_path


def test_scores_the_images_of_a_folder_against_their_part_of_the_ground_truth(
    folder: Path, truth: list[GroundTruth], tmp_path: Path
) -> None:
    result = evaluate_detector(bright_square, folder, truth, save_in=tmp_path / "saved")
    assert result.images == 2
    assert result.ap == {"easy": 1, "medium": 1, "hard": 1}
    assert evaluate_detector(bright_square, folder / "images", truth).ap == result.ap
    # Predictions of other images are left out.
    write_predictions(tmp_path / "saved", {truth[2].key: Prediction(np.zeros((1, 4)), [99.0])})
    saved = load_predictions(tmp_path / "saved", folder, truth)
    assert list(saved) == [truth[0].key, truth[1].key]
    assert evaluate(saved, truth).ap == result.ap


def test_progress_sees_every_image_as_it_is_worked_through(
    folder: Path, truth: list[GroundTruth]
) -> None:
    seen: list[str] = []

    def progress(images: Sequence[GroundTruth]) -> Iterator[GroundTruth]:
        for image in images:
            yield image
            seen.append(image.key)

    evaluate_detector(bright_square, folder, truth, progress)
    assert seen == ["0--Parade/0_Parade_1", "1--Handshaking/1_Handshaking_1"]


def test_an_image_without_saved_predictions_is_named(
    folder: Path, truth: list[GroundTruth], tmp_path: Path
) -> None:
    write_predictions(tmp_path / "saved", {truth[1].key: Prediction(np.zeros((0, 4)), [])})
    with pytest.raises(ValueError, match=r"1 of 2 images .*saved/0--Parade/0_Parade_1\.txt"):
        load_predictions(tmp_path / "saved", folder, truth)


def test_a_broken_image_is_named(folder: Path, truth: list[GroundTruth]) -> None:
    (folder / "images/0--Parade/0_Parade_1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"0_Parade_1\.jpg"):
        evaluate_detector(bright_square, folder, truth)


def test_an_image_without_ground_truth_is_named(folder: Path, truth: list[GroundTruth]) -> None:
    (folder / "images/0--Parade/holiday.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holiday\.jpg is not in the ground truth"):
        find_images(folder, truth)


def test_a_folder_without_images_says_where_they_are_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"EVENT/IMAGE\.jpg"):
        find_images(tmp_path, [])


def test_ap_is_none_in_json_where_no_face_counts() -> None:
    faces = np.array([[0.0, 0.0, 20.0, 20.0]] * 3) + np.array([[50.0], [100.0], [200.0]])
    keep = np.array([[False] * 3, [True] * 3, [True] * 3])
    truth = [GroundTruth("0--Parade/a", faces, keep)]
    result = evaluate({"0--Parade/a": Prediction(faces[:1], [0.5])}, truth)
    assert rounded(result.ap) == {"easy": None, "medium": 0.33333, "hard": 0.33333}


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 48, 64])
def test_official_checkpoints_have_their_reference_ap(
    shared: Path, tmp_path: Path, width: int
) -> None:
    """The authors' checkpoints, through our network, export, runtime, detector and evaluation."""
    network = convert_official(shared / f"official/EXTD_{width}.pth")
    export_onnx(network, tmp_path / "model.onnx")
    detect = partial(single, Detector(tmp_path / "model.onnx"))
    data = shared / "data/wider_dev"
    truth = load_ground_truth(data / "ground_truth")
    result = evaluate_detector(detect, data / "WIDER_val", truth)
    reference = json.loads((shared / "official/reference.json").read_text())
    assert result.images == reference["pictures"]
    assert result.ap == pytest.approx(reference["single"][str(width)], abs=0.002)
