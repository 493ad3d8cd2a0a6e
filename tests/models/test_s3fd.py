from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from extd.models.anchors import anchor_boxes
from extd.models.config import BASELINE_CONFIGS, S3fdConfig
from extd.models.export import DecodedExtd, export_onnx
from extd.models.network import count_macs, count_parameters, load_network, save_network
from extd.models.s3fd import L2Norm, S3fd, Vgg

SMALL = S3fdConfig("mobilefacenet")


@pytest.fixture(scope="module")
def vgg() -> S3fd:
    torch.manual_seed(0)
    return S3fd(S3fdConfig("vgg16")).eval()


def test_s3fd_has_the_parameters_of_vgg_its_extra_layers_and_heads(vgg: S3fd) -> None:
    # VGG-16's convolutions, its two dense layers, four extra convolutions, norms, heads.
    extras = (262_400 + 1_180_160) + (65_664 + 295_168)
    heads = 9 * (8 * 256 + 6 * (512 + 512 + 1024 + 512 + 256)) + 8 + 5 * 6
    wanted = 14_714_688 + (4_719_616 + 1_049_600) + extras + (256 + 512 + 512) + heads
    assert count_parameters(vgg) == wanted


def test_the_baseline_costs_many_times_what_extd_does(vgg: S3fd) -> None:
    assert count_macs(vgg, 64, 64) > 10 * count_macs(S3fd(SMALL).eval(), 64, 64)


@pytest.mark.parametrize("size", [(64, 64), (70, 101)])
@pytest.mark.parametrize("config", BASELINE_CONFIGS, ids=lambda config: config.name)
def test_every_anchor_has_a_prediction(config: S3fdConfig, size: tuple[int, int]) -> None:
    network = S3fd(config).eval()
    images = torch.rand(1, 3, *size) * 255
    with torch.no_grad():
        maps = network.features(images)
        predictions = network(images)
    assert [(m.shape[1], *m.shape[2:]) for m in maps] == [
        (channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(network.backbone.channels, config.strides, strict=True)
    ]
    assert predictions.regression.shape == (1, len(anchor_boxes(config, *size)), 4)


def test_norms_bring_vectors_to_their_length() -> None:
    x = torch.randn(2, 256, 3, 4) * 50
    assert torch.allclose(L2Norm(256, 10.0)(x).norm(dim=1), torch.tensor(10.0))
    assert L2Norm(256, 10.0)(torch.zeros(1, 256, 1, 1)).abs().sum() == 0


def test_the_first_three_maps_are_normed(vgg: S3fd) -> None:
    assert isinstance(vgg.backbone, Vgg)
    with torch.no_grad():
        maps = vgg.features(torch.rand(1, 3, 96, 96) * 255)
    lengths = [m.norm(dim=1).mean().item() for m in maps[:3]]
    assert lengths == pytest.approx([10.0, 8.0, 5.0], rel=1e-3)


def test_gradients_reach_every_weight() -> None:
    network = S3fd(SMALL)
    predictions = network(torch.rand(2, 3, 128, 128) * 255)
    (predictions.regression.square().mean() + predictions.logits.square().mean()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_a_baseline_is_saved_and_exported_like_any_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = S3fd(SMALL)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.rand(2, 3, 128, 128) * 255)
    save_network(network.eval(), tmp_path / "a.safetensors")
    loaded, _ = load_network(tmp_path / "a.safetensors")
    assert loaded.config == SMALL
    export_onnx(loaded, tmp_path / "a.onnx")
    images = torch.rand(1, 3, 70, 101) * 255
    with torch.no_grad():
        boxes, scores = DecodedExtd(network)(images)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    found = session.run(["boxes", "scores"], {"images": images.numpy()})
    sides = anchor_boxes(SMALL, 70, 101)[:, 2:3].numpy()
    np.testing.assert_allclose(found[0] / sides, boxes.numpy() / sides, atol=3e-5, rtol=1e-5)
    np.testing.assert_allclose(found[1], scores, atol=1e-4)
