from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extd.models.anchors import anchor_boxes, decode, decode_landmarks
from extd.models.config import LITE_CONFIGS, ExtdConfig, LiteConfig
from extd.models.export import export_onnx
from extd.models.extd import Extd
from extd.models.lite import Lite
from extd.models.network import count_macs, count_parameters
from extd.models.quantize import export_int8
from extd.runtime import OnnxModel

SMALL = LiteConfig(width=16, stem_width=16, blocks=1)


@pytest.fixture(scope="module")
def network() -> Lite:
    """Random weights and statistics, such that every level finds something."""
    torch.manual_seed(0)
    network = Lite(SMALL)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.3)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.startswith("heads."):
            value.normal_(0, 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def exported(network: Lite, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network as raw, decoded and int8 file."""
    folder = tmp_path_factory.mktemp("lite")
    files = {name: folder / f"{name}.onnx" for name in ("raw", "decoded", "int8")}
    export_onnx(network, files["raw"])
    export_onnx(network, files["decoded"], decoded=True)
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for _ in range(4))
    export_int8(network, files["int8"], images)
    return files


def test_maps_halve_from_level_to_level() -> None:
    maps = Lite(SMALL).eval().features(torch.zeros(1, 3, 200, 300))
    assert [m.shape[-2:] for m in maps] == [(25, 38), (13, 19), (7, 10), (4, 5), (2, 3)]
    assert all(a.shape[1] == b.shape[1] == 16 for a, b in pairwise(maps))


def test_one_f_serves_all_levels() -> None:
    deeper = sum(
        p.numel() for p in Lite(LiteConfig(width=16, stem_width=16, blocks=2)).parameters()
    )
    convolution, norms = 16 * 16 * 9, 5 * 2 * 16
    assert deeper - sum(p.numel() for p in Lite(SMALL).parameters()) == convolution + norms


def test_uint8_and_float_images_are_the_same(network: Lite) -> None:
    images = torch.randint(0, 256, (1, 3, 70, 90), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(network(images).logits, network(images.float()).logits)


@settings(max_examples=10)
@given(height=st.integers(1, 150), width=st.integers(1, 150))
def test_files_find_what_the_network_finds(
    network: Lite, exported: dict[str, Path], height: int, width: int
) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with torch.no_grad():
        predictions = network(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert predictions.landmarks is not None
    anchors = anchor_boxes(SMALL, height, width)
    boxes = decode(predictions.regression[0], anchors).numpy()
    points = decode_landmarks(predictions.landmarks[0], anchors).reshape(-1, 5, 2).numpy()
    scores = torch.sigmoid(predictions.log_odds[0]).numpy()
    for name in ("raw", "decoded"):
        (found,) = OnnxModel(exported[name], threads=1).run(image[None], 0.01)
        likely = np.isin(scores, scores[scores > 0.01])
        assert np.allclose(found.scores, scores[likely], atol=1e-4)
        assert np.allclose(found.boxes, boxes[likely], rtol=1e-4, atol=1e-2)
        assert found.landmarks is not None
        assert np.allclose(found.landmarks, points[likely], rtol=1e-4, atol=1e-2)


def test_int8_differs_by_little_and_says_so(exported: dict[str, Path]) -> None:
    image = np.random.default_rng(9).integers(0, 256, (1, 90, 110, 3), dtype=np.uint8)
    plain, coarse = OnnxModel(exported["raw"]), OnnxModel(exported["int8"])
    assert (plain.precision, coarse.precision) == ("float", "int8")
    assert coarse.metadata["model"] == plain.metadata["model"]
    (found,), (close,) = plain.run(image), coarse.run(image)
    assert np.abs(found.scores - close.scores).mean() < 0.05
    # Images enter as they are: nothing is computed before the first convolution.
    kinds = {node.op_type for node in onnx.load(exported["int8"]).graph.node}
    assert not {"Sub", "Cast"} & kinds


def test_the_output_of_int8_is_not_rounded(exported: dict[str, Path]) -> None:
    graph = onnx.load(exported["int8"]).graph
    makers = {name: node for node in graph.node for name in node.output}
    after_head = [makers[output.name] for output in graph.output]
    for node in after_head:
        if node.op_type != "Conv":
            after_head += [makers[name] for name in node.input if name in makers]
    kinds = {node.op_type for node in after_head}
    assert "Conv" in kinds
    assert not {"QuantizeLinear", "DequantizeLinear"} & kinds


def test_int8_needs_a_lite_network_and_images(network: Lite, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the network is extd-ssd-32-relu; int8 is for EXTD-Lite"):
        export_int8(Extd(ExtdConfig("ssd", 32, "relu")), tmp_path / "a.onnx", [])
    with pytest.raises(ValueError, match="no images to calibrate with"):
        export_int8(network, tmp_path / "a.onnx", [])
    assert not list(tmp_path.iterdir())


def test_all_passes_share_their_weights_in_the_files(exported: dict[str, Path]) -> None:
    for name in ("raw", "int8"):
        kernels = [i for i in onnx.load(exported[name]).graph.initializer if len(i.dims) == 4]
        # Stem, its second convolution, F's two, four laterals, tower and head.
        assert len(kernels) == 2 + 2 + 4 + 1 + 1


@pytest.mark.parametrize(
    ("name", "parameters", "millions"),
    [("extd-lite", 227_343, 1_170), ("extd-lite-nano", 58_895, 311)],
)
def test_sizes_of_the_shipped_networks(name: str, parameters: int, millions: int) -> None:
    network = Lite(LITE_CONFIGS[name]).eval()
    assert count_parameters(network) == parameters
    assert count_macs(network) / 1e6 == pytest.approx(millions, abs=1)
