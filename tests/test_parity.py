"""The authors' checkpoints, from their file to boxes in an image, against their own code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from extd import Detector, Options
from extd.models.export import export_onnx
from extd.models.network import convert_official

# The authors' code makes one pass, whatever the size of the image.
OPTIONS = Options(threshold=0.05, nms_iou=0.3, top_k=5000, max_faces=750, scales=(1.0,), clip=False)


@pytest.mark.shared
@pytest.mark.parametrize(
    "width",
    [32, pytest.param(48, marks=pytest.mark.slow), pytest.param(64, marks=pytest.mark.slow)],
)
def test_boxes_are_those_of_the_authors_code(shared: Path, tmp_path: Path, width: int) -> None:
    network = convert_official(shared / "official" / f"EXTD_{width}.pth")
    export_onnx(network, tmp_path / "model.onnx")
    detector = Detector(tmp_path / "model.onnx")
    reference = json.loads((shared / "official" / "reference_detections.json").read_text())
    for image, expected in reference["detections"][f"extd-fpn-{width}-prelu"].items():
        faces = detector.detect(shared / "data" / "wider_dev" / "WIDER_val" / image, OPTIONS)
        wanted = np.array(expected)
        assert len(faces) == len(wanted)
        # Scores are given to four decimals, so boxes of equal score may stand in another order.
        np.testing.assert_allclose(faces.scores, wanted[:, 4], atol=2e-4)
        distance = np.abs(faces.boxes[:, None] - wanted[None, :, :4]).max(-1)
        assert distance.min(1).max() < 0.05
        assert distance.min(0).max() < 0.05
