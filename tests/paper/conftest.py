from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from recall import ATTRIBUTES

from extd.evaluation.predictions import Prediction, write_predictions

BOXES = np.array([[10.0, 10, 20, 20], [50, 10, 200, 200]])


@dataclass(frozen=True)
class WiderFiles:
    """WIDER FACE in small, on disk.

    Attributes:
        images: folder of two images, as WIDER_val/images.
        truth: folder of the four .mat files; two faces in each image.
        found: folders of predictions for the first image, `good` of both faces, `poor` of one.
    """

    images: Path
    truth: Path
    found: tuple[Path, Path]


@pytest.fixture
def wider_files(tmp_path: Path, write_truth: Callable[..., Path]) -> WiderFiles:
    labels = [np.array([[0.0], [1.0]]), np.zeros((2, 1))]
    attributes = dict.fromkeys(ATTRIBUTES, labels)
    truth = write_truth(tmp_path / "truth", {"a": BOXES, "b": BOXES}, attributes)
    for name, count in (("good", 2), ("poor", 1)):
        found = {"0--Parade/a": Prediction(BOXES[:count], np.linspace(0.9, 0.5, count))}
        write_predictions(tmp_path / name, found)
    images = tmp_path / "images"
    (images / "0--Parade").mkdir(parents=True)
    for name in "ab":
        cv2.imwrite(
            str(images / "0--Parade" / f"{name}.jpg"), np.full((300, 300, 3), 128, np.uint8)
        )
    return WiderFiles(images, truth, (tmp_path / "good", tmp_path / "poor"))
