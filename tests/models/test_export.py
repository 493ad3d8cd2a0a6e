from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from extd.models.anchors import anchor_boxes
from extd.models.config import ExtdConfig
from extd.models.export import DecodedExtd, export_onnx
from extd.models.extd import Extd
from extd.models.network import count_parameters

SIZES = [(1, 101, 150), (3, 64, 333), (2, 1, 1), (1, 240, 320)]


def trained_looking(config: ExtdConfig) -> Extd:
    """A network whose norms and slopes have left their initial values, with sane outputs."""
    torch.manual_seed(1)
    network = Extd(config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.4, 0.6)
            nn.init.normal_(module.bias, 0, 0.1)
            module.momentum = None  # plain average over passes and batches
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.4, 1.3)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.rand(2, 3, 256, 256) * 255)
    return network.eval()


@pytest.fixture(
    scope="module",
    params=[
        ExtdConfig("fpn", 32, "prelu"),
        ExtdConfig("ssd", 48, "relu"),
        ExtdConfig("fpn", 48, "leakyrelu", norm_per_pass=True),
    ],
    ids=lambda config: config.name,
)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Extd, Path]:
    network = trained_looking(request.param)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(network, path, {"license": "MIT"})
    return network, path


@pytest.mark.parametrize("size", SIZES)
def test_onnx_runtime_agrees_with_torch(
    exported: tuple[Extd, Path], size: tuple[int, int, int]
) -> None:
    network, path = exported
    batch, height, width = size
    images = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        boxes, scores = DecodedExtd(network)(images)
    session = onnxruntime.InferenceSession(path)
    found = session.run(["boxes", "scores"], {"images": images.numpy()})
    # A raw offset of 5e-4 moves a box by a tenth of that of its anchor's side.
    sides = anchor_boxes(network.config, height, width)[:, 2:3].numpy()
    np.testing.assert_allclose(found[0] / sides, boxes.numpy() / sides, atol=5e-5, rtol=1e-5)
    np.testing.assert_allclose(found[1], scores, atol=1e-4)


def test_shared_weights_are_stored_once(exported: tuple[Extd, Path]) -> None:
    network, path = exported
    model = onnx.load(path)
    kernels = [i for i in model.graph.initializer if len(i.dims) == 4 and max(i.dims) > 3]
    assert len(kernels) == sum(isinstance(m, nn.Conv2d) for m in network.modules())
    if not network.config.norm_per_pass:
        assert path.stat().st_size <= 1.15 * 4 * count_parameters(network)


def test_activations_are_ones_that_the_runtime_fuses(exported: tuple[Extd, Path]) -> None:
    _, path = exported
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert "PRelu" not in kinds


def test_the_metadata_describes_the_model(exported: tuple[Extd, Path]) -> None:
    network, path = exported
    metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert metadata["extd.model"] == network.config.name
    assert metadata["extd.license"] == "MIT"
    assert metadata["extd.mean"] == "[123.0, 117.0, 104.0]"
    assert metadata["extd.votes"] == "false"
    assert len(metadata["extd.sha256"]) == 64


def test_a_file_has_its_notes_and_votes_if_told_to(tmp_path: Path) -> None:
    network = Extd(ExtdConfig("ssd", 32, "relu"))
    export_onnx(network, tmp_path / "a.onnx", {"training_data": "none"}, box_voting=True)
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert metadata["extd.votes"] == "true"
    assert metadata["extd.training_data"] == "none"
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]
