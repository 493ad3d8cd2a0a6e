from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from extd.detector import Detector, Options
from extd.images import read_image
from extd.models.anchors import anchor_boxes, corners, decode
from extd.models.checkpoint import save_network
from extd.models.config import ExtdConfig
from extd.models.export import export_onnx
from extd.models.extd import Extd
from extd.training.teacher import (
    DetectorTeacher,
    NetworkTeacher,
    detected_faces,
    load_teacher,
    matched_boxes,
    soft_targets,
)

CPU = torch.device("cpu")
SIDE = 128
ANCHORS = anchor_boxes(ExtdConfig(), SIDE, SIDE)


def crop(path: Path, left: int, top: int) -> Tensor:
    """1 x 3 x 128 x 128 of a picture."""
    image = np.array(read_image(path)[top : top + SIDE, left : left + SIDE])
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def test_weights_of_any_architecture_teach_their_raw_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Extd(ExtdConfig("ssd", 48, "leakyrelu"))
    save_network(network.train(), tmp_path / "teacher.safetensors")
    teacher = load_teacher(tmp_path / "teacher.safetensors", ExtdConfig(), CPU)
    assert isinstance(teacher, NetworkTeacher)
    assert not any(module.training for module in teacher.network.modules())
    assert not any(p.requires_grad for p in teacher.network.parameters())

    images = torch.rand(2, 3, SIDE, SIDE) * 255
    taught = soft_targets(teacher, images, ANCHORS, 0.01)
    with torch.no_grad():
        wanted = network.eval()(images)
    scores = wanted.logits.softmax(-1)[..., 1]
    torch.testing.assert_close(taught.log_odds.sigmoid(), scores)
    torch.testing.assert_close(taught.regression, wanted.regression)
    assert torch.equal(taught.face > 0, scores >= 0.01)
    assert [m.shape[1] for m in taught.maps] == [48] * 6
    assert not any(t.requires_grad for t in (*taught[:4], *taught.maps))


def test_boxes_of_other_anchors_land_on_the_matching_ones(toy: str) -> None:
    teacher = load_teacher(toy, ExtdConfig(), CPU)
    images = torch.zeros(2, 3, SIDE, SIDE)
    # Score 0.8 and half a side of 20 px in the cell around (60, 44).
    images[1, 0, 44, 60], images[1, 1, 44, 60] = 204, 20
    taught = soft_targets(teacher, images, ANCHORS, 0.3)
    assert not taught.face[0].any()
    assert taught.maps == []

    matched = taught.face[1] > 0
    torch.testing.assert_close(taught.face[1, matched], torch.full((int(matched.sum()),), 0.8))
    torch.testing.assert_close(taught.log_odds.sigmoid()[1, matched], taught.face[1, matched])
    boxes = decode(taught.regression[1], ANCHORS)
    expected = torch.tensor([40.0, 24, 80, 64]).expand(int(matched.sum()), 4)
    torch.testing.assert_close(boxes[matched], expected, rtol=0, atol=1e-3)
    # The anchors of 32 px at the centre are the best; all others are background, lightly.
    near = (ANCHORS[:, :2] - torch.tensor([60.0, 44])).abs().amax(1) <= 4
    assert matched[near & (ANCHORS[:, 2] == 32)].all()
    assert (taught.log_odds.sigmoid()[1, ~matched] < 0.01).all()
    assert (taught.trust[1, ~matched] < 1).all()
    assert (taught.trust[1, matched] == 1).all()


def test_padding_and_boxes_without_area_give_finite_targets() -> None:
    boxes = torch.zeros(2, 3, 4)
    boxes[0, 0] = torch.tensor([20.0, 20, 50, 50])
    boxes[0, 1] = torch.tensor([90.0, 90, 90, 90])
    scores = torch.tensor([[1.0, 0.4, 0.9], [0.9, 0.9, 0.9]])
    real = torch.tensor([[True, True, False], [False, False, False]])
    taught = matched_boxes(boxes, scores, real, ANCHORS)
    assert all(part.isfinite().all() for part in taught[:4])
    assert not taught.face[1].any()
    assert taught.face[0].max() == 1
    assert not (taught.face == 0.9).any()
    unmatched = decode(taught.regression, ANCHORS)[1]
    torch.testing.assert_close(unmatched, corners(ANCHORS))


def test_the_packaged_weights_teach_by_name(examples: Path) -> None:
    teacher = load_teacher("extd-fpn-32-prelu", ExtdConfig(), CPU, threads=1)
    assert isinstance(teacher, DetectorTeacher)
    images = torch.cat([torch.zeros(1, 3, SIDE, SIDE), crop(examples / "astronaut.jpg", 160, 50)])
    boxes, scores, real = detected_faces(teacher.detector, images, 0.3)
    found = teacher.detector.detect(
        images[1].permute(1, 2, 0).byte().numpy(), Options(threshold=0.3, clip=False)
    )
    assert len(found) >= 1
    assert real.sum(1).tolist() == [0, len(found)]
    np.testing.assert_array_equal(boxes[1, : len(found)], found.boxes)
    taught = soft_targets(teacher, images, ANCHORS, 0.3)
    assert taught.face[1].max().item() == pytest.approx(scores.max().item())


@pytest.mark.slow
def test_an_exported_network_of_another_architecture_teaches(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Extd(ExtdConfig("ssd", 32, "relu"))
    for level in network.heads.classification:
        torch.nn.init.zeros_(level.bias)  # half of the anchors see a face
    export_onnx(network.eval(), tmp_path / "teacher.onnx")
    teacher = load_teacher(tmp_path / "teacher.onnx", ExtdConfig(), CPU, threads=1)
    images = (torch.rand(2, 3, SIDE, SIDE) * 255).round()
    taught = soft_targets(teacher, images, ANCHORS, 0.3)
    detector = Detector(tmp_path / "teacher.onnx", threads=1)
    for index in range(2):
        found = detector.detect(images[index].permute(1, 2, 0).byte().numpy())
        best = taught.face[index].max().item()
        assert best == pytest.approx(found.scores[0], abs=1e-5)


def test_what_cannot_teach_is_named_with_the_fix(tmp_path: Path) -> None:
    official = tmp_path / "EXTD_64.pth"
    torch.save({}, official)
    with pytest.raises(ValueError, match=r"teacher: .*EXTD_64\.pth .*extd convert .*EXTD_64\.pth"):
        load_teacher(official, ExtdConfig(), CPU)
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        load_teacher(tmp_path / "absent.safetensors", ExtdConfig(), CPU)
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx"):
        load_teacher(tmp_path / "absent.onnx", ExtdConfig(), CPU)
    with pytest.raises(ValueError, match="teacher: no weights ship for 'extd-ssd-64-relu'"):
        load_teacher("extd-ssd-64-relu", ExtdConfig(), CPU)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"teacher: .*broken\.onnx"):
        load_teacher(broken, ExtdConfig(), CPU)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="ONNX Runtime has CUDA here",
)
def test_a_detector_that_stays_on_the_cpu_is_no_secret(toy: str) -> None:
    with pytest.warns(UserWarning, match="install onnxruntime-gpu"):
        load_teacher(toy, ExtdConfig(), torch.device("cuda"))
