from __future__ import annotations

from pathlib import Path

import cv2
import levels
import numpy as np
import pytest

import extd
from extd.runtime import OnnxModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("model", ["extd-lite-nano", "extd-fpn-32-prelu"])
@pytest.mark.parametrize("size", [(97, 131), (128, 128), (200, 33)])
def test_every_box_has_a_stride(model: str, size: tuple[int, int]) -> None:
    network = OnnxModel(model)
    boxes, _ = network.run(np.zeros((1, *size, 3), np.uint8))
    assert len(levels.strides_of(network, *size)) == boxes.shape[1]


def test_a_face_counts_for_its_size_and_the_stride_that_finds_it(tmp_path: Path) -> None:
    network = OnnxModel("extd-fpn-32-prelu")
    image = extd.read_image(ROOT / "examples" / "astronaut.jpg")
    counted = {}
    for factor in (1.0, 0.25):
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        path = tmp_path / f"{factor}.png"
        cv2.imwrite(str(path), small[..., ::-1])
        faces = extd.Detector("extd-fpn-32-prelu").detect(path).boxes
        assert len(faces) == 1
        ((size, stride),) = levels.count(network, path, faces)
        counted[factor] = (size, stride)
        side = max(faces[0, 2:] - faces[0, :2])
        assert levels.EDGES[size] <= side < 2 * levels.EDGES[size]
    assert counted[1.0][1] == 4 * counted[0.25][1]
    nothing = np.float32([[0, 0, 20, 20]])
    assert levels.count(network, path, nothing) == []
