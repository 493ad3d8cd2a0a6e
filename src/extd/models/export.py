"""ONNX files of the networks, for any batch, height and width.

Decoded, the contract for other programs. Input `images`: B x 3 x H x W float32, RGB of 0 to 255.
Outputs: `boxes`, B x A x 4 float32, xyxy px, not clipped; `scores`, B x A float32, probability of a
face; `landmarks`, B x A x 5 x 2 float32 px, where the network has any.

Raw, what `Detector` takes of EXTD-Lite: it decodes the few boxes above its threshold itself. Input
`patches`: B x H/4 x W/4 x 48 uint8, 4 x 4 px of RGB each (`extd.decoding.to_patches`). Output
`raw`: B x 15 x A float32, the head as it is; the metadata tell the anchors and scales.
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
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from extd.files import atomic_write
from extd.models.anchors import decode, decode_landmarks, map_anchors
from extd.models.checkpoint import load_network
from extd.models.config import MEAN, VARIANCES, NetworkConfig, S3fdConfig
from extd.models.extd import OFFSET_GAIN, PassNorm, UpsamplingBlock
from extd.models.lite import CONTRAST, GREY, ConvBlock, Lateral, Lite
from extd.models.network import TorchNetwork

OPSET = 18


class DecodedExtd(nn.Module):
    """The network followed by softmax and box decoding: what the ONNX file computes."""

    def __init__(self, network: TorchNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`images` to `boxes`, `scores` and `landmarks`, as described above."""
        maps = self.network.features(images)
        predictions = self.network.heads(maps)
        shapes = [(m.shape[-2], m.shape[-1]) for m in maps]
        anchors = map_anchors(self.network.config, shapes, images.device)
        boxes = decode(predictions.regression, anchors)
        scores = torch.sigmoid(predictions.log_odds)
        if predictions.landmarks is None:
            return boxes, scores
        points = decode_landmarks(predictions.landmarks, anchors)
        return boxes, scores, points.reshape(*scores.shape, -1, 2)


class RawLite(nn.Module):
    """EXTD-Lite with norms folded into the convolutions of each pass, for int8."""

    def __init__(self, network: Lite) -> None:
        super().__init__()
        levels = len(network.config.strides)
        self.head = network.heads.conv
        self.patches = _patch_convolution(fuse_conv_bn_eval(network.stem.conv, network.stem.norm))
        self.stem_down = FoldedBlock(network.stem.down, 0)
        self.down = nn.ModuleList(FoldedBlock(network.down, index) for index in range(levels - 1))
        self.blocks = nn.ModuleList(
            nn.ModuleList(FoldedBlock(block, index) for block in network.blocks)
            for index in range(levels)
        )
        laterals = [lateral for lateral in network.laterals if isinstance(lateral, Lateral)]
        self.laterals = nn.ModuleList(fuse_conv_bn_eval(x.conv, x.norm) for x in laterals)
        self.tower = nn.ModuleList(
            nn.ModuleList(FoldedBlock(block, index) for block in network.tower)
            for index in range(levels)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """`patches` to `raw`, as described above."""
        x = F.pad(patches.permute(0, 3, 1, 2).float() - GREY, (1, 0, 1, 0))
        x = self.stem_down(F.relu(self.patches(x)))
        maps: list[Tensor] = []
        for index, blocks in enumerate(self.blocks):
            assert isinstance(blocks, nn.ModuleList)
            x = self.down[index - 1](x) if index > 0 else x
            for block in blocks:
                x = block(x)
            maps.append(x)
        pyramid = [maps[-1]]
        for lateral, fine in zip(self.laterals, reversed(maps[:-1]), strict=True):
            height, width = fine.shape[-2:]
            doubled = F.interpolate(lateral(pyramid[0]), scale_factor=2, mode="nearest")
            pyramid.insert(0, F.relu(doubled[..., :height, :width] + fine))
        outputs = []
        for tower, level in zip(self.tower, pyramid, strict=True):
            assert isinstance(tower, nn.ModuleList)
            x = level
            for block in tower:
                x = block(x)
            outputs.append(self.head(x).flatten(2))
        return torch.cat(outputs, 2)


def _patch_convolution(conv: nn.Conv2d) -> nn.Conv2d:
    """The stem's 6x6 convolution of stride 4 as one of 2x2 on patches of 4x4 px, 48 channels.

    Patches are read in one piece, which more than makes up for a third of the weights being 0.
    """
    assert conv.bias is not None
    weight = F.pad(conv.weight.detach(), (2, 0, 2, 0)) / CONTRAST
    patches = nn.Conv2d(48, conv.out_channels, 2)
    # Output, color, two patches of four rows, two of four columns: rows, columns, color inside.
    split = weight.reshape(-1, 3, 2, 4, 2, 4).permute(0, 3, 5, 1, 2, 4)
    patches.weight.data = split.reshape(-1, 48, 2, 2).contiguous()
    patches.bias = conv.bias
    return patches


class FoldedBlock(nn.Module):
    """A `ConvBlock` in one pass, its norm folded into its convolution."""

    def __init__(self, block: nn.Module, index: int) -> None:
        super().__init__()
        assert isinstance(block, ConvBlock)
        norm = block.norm.norms[index]
        assert isinstance(norm, nn.BatchNorm2d)
        self.conv = fuse_conv_bn_eval(block.conv, norm)
        self.has_skip = block.has_skip

    def forward(self, x: Tensor) -> Tensor:
        """As the block's."""
        out = self.conv(x)
        return F.relu(out + x if self.has_skip else out)


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
    decoded: bool = False,
) -> None:
    """Write `network` as an ONNX file with `notes` (training data, AP, license) in its metadata.

    Args:
        network: any.
        path: the file.
        notes: beside model, anchors, mean, votes and sha256.
        votes: whether a `Detector` averages boxes that overlap. By default those of EXTD-Lite are,
            whose scores tell how well a box fits; the paper's are not.
        decoded: EXTD-Lite too with its boxes decoded, which costs time, for other programs.
    """
    config = network.config
    raw = isinstance(network, Lite) and not decoded
    if isinstance(network, Lite) and raw:
        graph: nn.Module = RawLite(copy.deepcopy(network).cpu().eval())
        example = torch.zeros((2, 65, 97, 48), dtype=torch.uint8)
        inputs, outputs = ["patches"], ["raw"]
        dynamic = dict.fromkeys((0, 1, 2), torch.export.Dim.DYNAMIC)
    else:
        graph = DecodedExtd(simplified(network))
        example = torch.zeros(2, 3, 259, 387)
        inputs, outputs = ["images"], ["boxes", "scores"]
        dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
        outputs += ["landmarks"] * isinstance(network, Lite)
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")  # the exporter's own deprecations are not the user's
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=(dynamic,),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = _tidied(program.model_proto)
    weights = b"".join(sorted(i.raw_data for i in model.graph.initializer))
    anchors: dict[str, object] = {"strides": config.strides, "sizes": config.anchor_sizes}
    if raw:
        # In sides of the anchor, and as logarithm: see `extd.decoding`.
        scale = OFFSET_GAIN * VARIANCES[0], OFFSET_GAIN * VARIANCES[1]
        anchors |= {"center_scale": scale[0], "size_scale": scale[1]}
    metadata = {
        **(notes or {}),
        "model": config.name,
        "anchors": anchors,
        "mean": (GREY,) * 3 if isinstance(network, Lite) else MEAN,
        "votes": by_votes(config) if votes is None else votes,
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


def export_file(
    source: Path, target: Path, *, votes: bool | None = None, decoded: bool = False
) -> None:
    """Export the safetensors file `source` as the ONNX file `target`; see `export_onnx`.

    Raises:
        FileNotFoundError, ValueError: as `load_network`.
    """
    network, notes = load_network(source)
    export_onnx(network, target, notes, votes=votes, decoded=decoded)


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
