"""int8 for EXTD-Lite: static quantization of its raw ONNX graph (see `extd.models.export`).

Activations are uint8 and weights int8, one scale a channel. The head stays float, and images enter
as they are: uint8 with a zero point of 128 is what the network subtracts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from extd.images import read_image
from extd.models.export import export_onnx, quiet, save_onnx, tidy
from extd.models.lite import GRAY, Lite
from extd.models.network import TorchNetwork
from extd.pixels import Image
from extd.runtime import to_patches

PIXELS = "pixels"
"""Name of the tensor that the first convolution reads."""


def read_evenly(paths: Sequence[Path], count: int = 100) -> Iterator[Image]:
    """Up to `count` of the images, spread over the list: enough to calibrate with."""
    for index in sorted({len(paths) * number // count for number in range(count if paths else 0)}):
        yield read_image(paths[index])


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Inputs of a network, by name, for `quantize_static`."""

    def __init__(self, inputs: Iterable[Mapping[str, NDArray[Any]]]) -> None:
        self.inputs = iter(inputs)

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        """The inputs of the next batch, or None."""
        return next(self.inputs, None)


def quantize_graph(
    model: onnx.ModelProto,
    path: Path,
    inputs: Iterable[Mapping[str, NDArray[Any]]],
    overrides: Mapping[str, object] | None = None,
) -> None:
    """Write a convolutional network as int8 in QDQ format; float from its last convolutions on.

    Nodes of the `model` have names. `inputs` are batches to calibrate with, by the names of the
    inputs, and `overrides` settings of tensors, as ONNX Runtime's `TensorQuantOverrides`.
    """
    quantize_static(
        model,
        str(path),
        Calibration(inputs),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=output_nodes(model),
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"TensorQuantOverrides": overrides or {}},
    )


def export_int8(
    network: TorchNetwork,
    path: Path,
    images: Iterable[NDArray[np.uint8]],
    notes: dict[str, object] | None = None,
    *,
    box_voting: bool | None = None,
) -> None:
    """Write a network of EXTD-Lite as an int8 ONNX file.

    A hundred `images`, uint8 [H, W, 3] RGB, of what the network will see are enough; the other
    parameters are those of `export_onnx`.

    Raises:
        ValueError: it is another network, or there are no images.
    """
    if not isinstance(network, Lite):
        raise ValueError(f"the network is {network.config.name}; int8 is for EXTD-Lite alone")
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise ValueError("no images to calibrate with; give --calibrate some")
    identity = {
        "quant_type": QuantType.QUInt8,
        "scale": np.array(1, np.float32),
        "zero_point": np.array(GRAY, np.uint8),
    }
    with tempfile.TemporaryDirectory() as folder, quiet():
        plain, quantized = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        export_onnx(network, plain, notes, box_voting=box_voting)
        metadata = onnx.load(plain).metadata_props
        patches = ({"patches": to_patches(image[None])} for image in chain([first], images))
        quantize_graph(_prepare(plain), quantized, patches, {PIXELS: [identity]})
        # All passes share their int8 weights and differ in scales, so `tidy` stores them once.
        result = tidy(_uint8_input(onnx.load(quantized)))
    result.metadata_props.extend(metadata)
    result.metadata_props.add(key="extd.precision", value="int8")
    save_onnx(result, path)


def _prepare(source: Path) -> onnx.ModelProto:
    """The network with norms folded, named nodes, and `PIXELS` before the first convolution."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        folded = Path(folder, "folded.onnx")
        options.optimized_model_filepath = str(folded)
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        model = onnx.load(folded)
    # ONNX Runtime adds every domain that it knows.
    opsets = [opset for opset in model.opset_import if not opset.domain]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    makers = {name: node for node in model.graph.node for name in node.output}
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}{number}"
        if node.op_type == "Conv" and makers[node.input[0]].op_type == "Sub":
            makers[node.input[0]].output[0] = node.input[0] = PIXELS
    return onnx.shape_inference.infer_shapes(model)


def output_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that no convolution follows: the last convolutions and all after them."""
    followed: set[str] = set()
    last = []
    # Nodes are sorted: from the end, all readers of an output come before its maker.
    for node in reversed(model.graph.node):
        if followed.isdisjoint(node.output):
            last.append(node.name)
        if node.op_type == "Conv" or not followed.isdisjoint(node.output):
            followed.update(node.input)
    return last


def _uint8_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network without the arithmetic between the image and the first convolution."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    (quantizer,) = (n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == PIXELS)
    needless, name = [quantizer], PIXELS
    while makers[name].op_type != "Transpose":
        needless.append(makers[name])
        name = makers[name].input[0]
    for node in graph.node:
        node.input[:] = [name if one == quantizer.output[0] else one for one in node.input]
    for node in needless:
        graph.node.remove(node)
    return model
