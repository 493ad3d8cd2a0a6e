"""ONNX files: the network with its boxes decoded, for any batch, height and width.

Input `images`: B x 3 x H x W float32, RGB of 0 to 255. Outputs: `boxes`, B x A x 4 float32, xyxy
px, not clipped; `scores`, B x A float32, probability of a face.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from extd.files import atomic_write
from extd.models.anchors import decode, map_anchors
from extd.models.checkpoint import load_network
from extd.models.config import MEAN, NetworkConfig, S3fdConfig
from extd.models.extd import PassNorm, UpsamplingBlock
from extd.models.network import TorchNetwork

OPSET = 18


class DecodedExtd(nn.Module):
    """The network followed by softmax and box decoding: what the ONNX file computes."""

    def __init__(self, network: TorchNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`images` to `boxes` and `scores`, as described above."""
        maps = self.network.features(images)
        predictions = self.network.heads(maps)
        shapes = [(m.shape[-2], m.shape[-1]) for m in maps]
        anchors = map_anchors(self.network.config, shapes, images.device)
        return decode(predictions.regression, anchors), torch.sigmoid(predictions.log_odds)


def simplified(network: TorchNetwork) -> TorchNetwork:
    """A copy for inference: norms folded into convolutions, PReLU of one slope as LeakyReLU.

    ONNX Runtime fuses LeakyRelu into the convolution before it, which it does not do with PRelu.
    A batch norm a pass stays: folding it would copy the shared weights six times.
    """
    network = copy.deepcopy(network).cpu().eval()
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential | nn.ModuleList):
            _fold_norms(module)
        elif isinstance(module, UpsamplingBlock):
            assert isinstance(module.norm, nn.BatchNorm2d)
            module.pointwise = fuse_conv_bn_eval(module.pointwise, module.norm)
            module.norm = nn.Identity()
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.PReLU) and child.num_parameters == 1:
                setattr(module, name, nn.LeakyReLU(child.weight.item()))
    return network


def _fold_norms(layers: nn.Sequential | nn.ModuleList) -> None:
    """Fold each norm into the convolution before it, unless it differs from pass to pass."""
    for index in reversed(range(1, len(layers))):
        conv, norm = layers[index - 1], layers[index]
        if isinstance(norm, PassNorm) and len(norm.norms) == 1:
            norm = norm.norms[0]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[index - 1] = fuse_conv_bn_eval(conv, norm)
            del layers[index]


def export_onnx(
    network: TorchNetwork,
    path: Path,
    notes: dict[str, object] | None = None,
    *,
    votes: bool | None = None,
) -> None:
    """Write `network` as an ONNX file with `notes` (training data, AP, licence) in its metadata.

    `votes` stands there too: whether a `Detector` averages boxes that overlap. Without it those
    of EXTD-Lite are, whose scores tell how well a box fits; the paper's are not.
    """
    graph = DecodedExtd(simplified(network)).eval()
    dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")  # the exporter's own deprecations are not the user's
        program = torch.onnx.export(
            graph,
            (torch.zeros(2, 3, 259, 387),),
            input_names=["images"],
            output_names=["boxes", "scores"],
            dynamic_shapes=(dynamic,),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = _tidied(program.model_proto)
    weights = b"".join(sorted(i.raw_data for i in model.graph.initializer))
    metadata = {
        **(notes or {}),
        "model": network.config.name,
        "anchors": {"strides": network.config.strides, "sizes": network.config.anchor_sizes},
        "mean": MEAN,
        "votes": by_votes(network.config) if votes is None else votes,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=f"extd.{key}", value=text)
    onnx.checker.check_model(model, full_check=True)
    with atomic_write(path) as partial:
        partial.write_bytes(model.SerializeToString())


def by_votes(config: NetworkConfig) -> bool:
    """Whether boxes of such a network that overlap are averaged, unless told otherwise."""
    return not isinstance(config, S3fdConfig) and config.head == "joint"


def export_file(source: Path, target: Path, *, votes: bool | None = None) -> None:
    """Export the safetensors file `source` as the ONNX file `target`; `votes` of `export_onnx`.

    Raises:
        FileNotFoundError, ValueError: as `load_network`.
    """
    network, notes = load_network(source)
    export_onnx(network, target, notes, votes=votes)


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph without the exporter's stack traces and names, most of the file otherwise."""
    del model.graph.value_info[:]
    names = {value.name for value in (*model.graph.input, *model.graph.output)}
    short: dict[str, str] = {}

    def shortened(name: str) -> str:
        return name if not name or name in names else short.setdefault(name, f"{len(short):x}")

    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]
        initializer.name = shortened(initializer.name)
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
        node.ClearField("name")
        node.input[:] = [shortened(name) for name in node.input]
        node.output[:] = [shortened(name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.metadata_props[:], model.graph.metadata_props[:]
    model.producer_name, model.producer_version = "extd", ""
    return model


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Warnings of these loggers held back: they concern packages that this graph does not use."""
    before = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
