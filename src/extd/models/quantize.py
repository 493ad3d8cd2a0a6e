"""int8 for EXTD-Lite: static quantization of its raw ONNX file (see `extd.models.export`).

Activations are uint8 and weights int8, one scale a channel. The head stays float, and images enter
as they are: uint8 with a zero point of 128 is what the network subtracts.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from extd.decoding import to_patches
from extd.files import atomic_write
from extd.models.checkpoint import load_network
from extd.models.export import export_onnx
from extd.models.lite import GREY, Lite

RAW = "raw"
PIXELS = "pixels"
"""Name of the tensor that the first convolution reads."""


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Images, one at a time."""

    def __init__(self, images: Iterable[NDArray[np.uint8]]) -> None:
        self.images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next image as a batch, or None."""
        image = next(self.images, None)
        return None if image is None else {"patches": to_patches(image[None])}


def export_int8(
    source: Path, target: Path, images: Iterable[NDArray[np.uint8]], *, votes: bool | None = None
) -> None:
    """Export the safetensors file `source` as the int8 ONNX file `target`.

    Args:
        source: weights of EXTD-Lite.
        target: the file to write.
        images: as of `quantize`.
        votes: as of `export_onnx`.

    Raises:
        FileNotFoundError, ValueError: as `load_network` and `quantize`.
    """
    network, notes = load_network(source)
    if not isinstance(network, Lite):
        raise ValueError(f"{source} is {network.config.name}; int8 is for extd-lite-64 and -32")
    images = _at_least_one(images)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "float.onnx")
        export_onnx(network, plain, notes, votes=votes)
        quantize(plain, target, images)


def quantize(source: Path, target: Path, images: Iterable[NDArray[np.uint8]]) -> None:
    """Write the raw float file `source` as the int8 file `target`, with the same metadata.

    Args:
        source: of `export_onnx`.
        target: the file to write.
        images: uint8 [H, W, 3] RGB each, of what the network will see; a hundred are enough.

    Raises:
        ValueError: `source` is not raw, or there are no images.
    """
    model = onnx.load(source)
    if [output.name for output in model.graph.output] != [RAW]:
        raise ValueError(f"{source} has decoded boxes; int8 needs EXTD-Lite's raw file")
    images = _at_least_one(images)
    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        named = onnx.shape_inference.infer_shapes(_named(model))
        onnx.save(named, plain)
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)
        try:
            quantize_static(
                str(plain),
                str(quantized),
                Calibration(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_heads(named),
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"TensorQuantOverrides": {PIXELS: [_identity()]}},
            )
        finally:
            logging.getLogger().setLevel(level)
        result = _uint8_input(onnx.load(quantized))
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    result.metadata_props.add(key="extd.precision", value="int8")
    onnx.checker.check_model(result, full_check=True)
    with atomic_write(target) as partial:
        partial.write_bytes(result.SerializeToString())


def _at_least_one(images: Iterable[NDArray[np.uint8]]) -> Iterable[NDArray[np.uint8]]:
    """The images, the first of which is there.

    Raises:
        ValueError: there is none.
    """
    rest = iter(images)
    first = next(rest, None)
    if first is None:
        raise ValueError("no images to calibrate with; give --calibrate some")
    return chain([first], rest)


def _identity() -> dict[str, object]:
    """Scale and zero point with which a uint8 value stands for itself less `GREY`."""
    return {
        "quant_type": QuantType.QUInt8,
        "scale": np.array(1, np.float32),
        "zero_point": np.array(GREY, np.uint8),
    }


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with names of its nodes, and the first convolution's input as `PIXELS`."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    makers = {name: node for node in changed.graph.node for name in node.output}
    for number, node in enumerate(changed.graph.node):
        node.name = f"{node.op_type}{number}"
        if node.op_type == "Conv" and makers[node.input[0]].op_type == "Sub":
            makers[node.input[0]].output[0] = node.input[0] = PIXELS
    return changed


def _heads(model: onnx.ModelProto) -> list[str]:
    """The convolutions after which nothing but shapes follows."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv"
        and {reader.op_type for reader in readers[node.output[0]]} <= {"Reshape", "Shape"}
    ]


def _uint8_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network without the arithmetic between the image and the first convolution."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    (quantizer,) = (n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == PIXELS)
    chain, name = [quantizer], PIXELS
    while makers[name].op_type != "Transpose":
        chain.append(makers[name])
        name = makers[name].input[0]
    for node in graph.node:
        node.input[:] = [name if one == quantizer.output[0] else one for one in node.input]
    for node in chain:
        graph.node.remove(node)
    return model
