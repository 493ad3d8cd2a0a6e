"""ONNX files of the networks, for any batch, height and width.

Decoded, the contract for other programs. Input `images`: B x 3 x H x W float32, RGB of 0 to 255.
Outputs: `boxes`, B x A x 4 float32, xyxy px, not clipped; `scores`, B x A float32, probability of a
face; `landmarks`, B x A x 5 x 2 float32 px, where the network has any.

Raw, what `Detector` takes of EXTD-Lite: it decodes the few boxes above its threshold itself. Input
`patches`: B x H/4 x W/4 x 48 uint8, 4 x 4 px of RGB each (`extd.runtime.to_patches`). Output
`raw`: B x 15 x A float32, the head's output; the metadata give the anchors and scales.
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
import onnx.numpy_helper
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from extd.files import atomic_write
from extd.models.anchors import Level, decode, decode_landmarks, level_boxes
from extd.models.config import MEAN, VARIANCES
from extd.models.extd import PassNorm, UpsamplingBlock
from extd.models.lite import CONTRAST, GRAY, OFFSET_GAIN, Lite
from extd.models.network import TorchNetwork
from extd.runtime import OnnxModel

OPSET = 18


class DecodedExtd(nn.Module):
    """The network followed by softmax and box decoding: what the ONNX file computes."""

    def __init__(self, network: TorchNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`images` to `boxes`, `scores` and `landmarks`, as described above."""
        maps, config = self.network.features(images), self.network.config
        predictions = self.network.heads(maps)
        cells = zip(config.strides, maps, config.anchor_sizes, strict=True)
        levels = [Level(stride, x.shape[-2], x.shape[-1], side) for stride, x, side in cells]
        anchors = level_boxes(levels, images.device)
        found = decode(predictions.regression, anchors), torch.sigmoid(predictions.log_odds)
        if predictions.landmarks is None:
            return found
        points = decode_landmarks(predictions.landmarks, anchors)
        return *found, points.reshape(*points.shape[:2], -1, 2)


class RawLite(nn.Module):
    """EXTD-Lite on patches of the image, up to the output of its head."""

    def __init__(self, network: Lite) -> None:
        super().__init__()
        self.network = network
        self.patches = _patch_convolution(fuse_conv_bn_eval(network.stem.conv, network.stem.norm))

    def forward(self, patches: Tensor) -> Tensor:
        """`patches` to `raw`, as described above."""
        x = F.pad(patches.permute(0, 3, 1, 2).float() - GRAY, (1, 0, 1, 0))
        maps = self.network.pyramid(self.network.stem.down(F.relu(self.patches(x))))
        return torch.cat([self.network.heads.conv(x).flatten(2) for x in maps], 2)


def _patch_convolution(conv: nn.Conv2d) -> nn.Conv2d:
    """The stem's 6x6 convolution of stride 4 as one of 2x2 on patches of 4x4 px, 48 channels."""
    # Patches are read in one piece, which makes up for a third of the weights being 0.
    assert conv.bias is not None
    weight = F.pad(conv.weight.detach(), (2, 0, 2, 0)) / CONTRAST
    patches = nn.Conv2d(48, conv.out_channels, 2)
    # Output, color, two patches of four rows, two of four columns: rows, columns, color inside.
    split = weight.reshape(-1, 3, 2, 4, 2, 4).permute(0, 3, 5, 1, 2, 4)
    patches.weight.data = split.reshape(-1, 48, 2, 2).contiguous()
    patches.bias = conv.bias
    return patches


def _simplified(network: TorchNetwork) -> TorchNetwork:
    """A copy for inference: norms folded into convolutions, PReLU of one slope as LeakyReLU.

    ONNX Runtime fuses LeakyRelu into the convolution before it, but not PRelu. A batch norm per
    pass stays, or each pass would have its own copy of the weights: ONNX Runtime folds it.
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
    box_voting: bool | None = None,
    decoded: bool = False,
) -> None:
    """Write a network as an ONNX file, with `notes` such as training data, AP and license.

    With `box_voting` a `Detector` averages boxes that overlap; by default those of EXTD-Lite, whose
    scores tell how well a box fits. With `decoded`, EXTD-Lite too decodes its boxes, which costs
    time, for other programs.
    """
    config, lite = network.config, isinstance(network, Lite)
    anchors: dict[str, object] = {"strides": config.strides, "sizes": config.anchor_sizes}
    if raw := lite and not decoded:
        # In sides of the anchor, and as logarithm: see `extd.runtime.RawHead`.
        anchors["center_scale"] = OFFSET_GAIN * VARIANCES[0]
        anchors["size_scale"] = OFFSET_GAIN * VARIANCES[1]
    model = _trace(network, raw=raw)
    weights = b"".join(sorted(i.raw_data for i in model.graph.initializer))
    metadata = {
        **(notes or {}),
        "model": config.name,
        "anchors": anchors,
        "mean": (GRAY,) * 3 if lite else MEAN,
        "votes": lite if box_voting is None else box_voting,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=f"extd.{key}", value=text)
    save_onnx(model, path)


def store_threshold(source: Path, target: Path, threshold: float) -> None:
    """Write an exported file again with the threshold that `extd.Detector` is to use by default.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: `source` is not an exported detector.
    """
    # Opened first, because its errors name what is wrong.
    model = onnx.load_model_from_string(OnnxModel(source).content)
    kept = [one for one in model.metadata_props if one.key != "extd.threshold"]
    kept.append(onnx.StringStringEntryProto(key="extd.threshold", value=str(threshold)))
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    save_onnx(model, target)


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Check a model and write its file."""
    onnx.checker.check_model(model, full_check=True)
    with atomic_write(path) as partial:
        partial.write_bytes(model.SerializeToString())


def _trace(network: TorchNetwork, *, raw: bool) -> onnx.ModelProto:
    """The graph of a network, without metadata."""
    simplified = _simplified(network)
    if raw:
        assert isinstance(simplified, Lite)
        graph: nn.Module = RawLite(simplified)
        example = torch.zeros((2, 65, 97, 48), dtype=torch.uint8)
        inputs, outputs, dynamic = ["patches"], ["raw"], (0, 1, 2)
    else:
        graph = DecodedExtd(simplified)
        example = torch.zeros(2, 3, 259, 387)
        inputs, outputs, dynamic = ["images"], ["boxes", "scores"], (0, 2, 3)
        outputs += ["landmarks"] * isinstance(simplified, Lite)
    with quiet():
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=(dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC),),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return tidy(program.model_proto)


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Shrink a model: short names, equal weights stored once, no stack traces, no metadata."""
    graph = model.graph
    ends = (*graph.input, *graph.output)
    short: dict[str, str] = {name: name for name in ("", *(value.name for value in ends))}

    def shorten(name: str) -> str:
        return short.setdefault(name, f"{len(short):x}")

    known: dict[tuple[object, ...], str] = {}
    repeated = []
    for index, one in enumerate(graph.initializer):
        content = one.data_type, *one.dims, onnx.numpy_helper.to_array(one).tobytes()
        if content in known:
            repeated.append(index)
        short[one.name] = one.name = known.setdefault(content, shorten(one.name))
        del one.metadata_props[:]
    for index in reversed(repeated):
        del graph.initializer[index]
    for node in graph.node:
        node.ClearField("doc_string")
        node.ClearField("name")
        node.input[:] = [shorten(name) for name in node.input]
        node.output[:] = [shorten(name) for name in node.output]
        del node.metadata_props[:]
    for value in ends:
        del value.metadata_props[:]
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    model.producer_name, model.producer_version = "extd", ""
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back warnings of the exporter and the quantizer: they are not about the user's input."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
