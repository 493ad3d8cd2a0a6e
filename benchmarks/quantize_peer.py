"""Quantize another detector's float file as `extd export --int8` does EXTD-Lite's.

    python benchmarks/quantize_peer.py PEERS/yunet_n_dynamic.onnx results/yunet_n-int8.onnx \
        --calibrate LABELS_OR_FOLDER

The same settings and images: QDQ, one scale a channel, MinMax, and the last convolutions stay
float. Give the result to latency.py and accuracy.py beside the detectors to compare it with.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx.version_converter
import onnxruntime as ort
from adapters import find_family
from onnxruntime.quantization.shape_inference import quant_pre_process

from extd.cli.weights import calibration_images
from extd.files import atomic_write
from extd.models.quantize import quantize_graph
from extd.pixels import Image


def quantize_peer(source: Path, target: Path, images: Iterable[Image]) -> None:
    """Write the detector `source` as an int8 ONNX file.

    Raises:
        ValueError: the file is of no known family.
    """
    session = ort.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    family = find_family(session, source)
    name = session.get_inputs()[0].name
    inputs = ({name: family.prepare(image)} for image in images)
    with tempfile.TemporaryDirectory() as folder, atomic_write(target) as partial:
        prepared = Path(folder, "prepared.onnx")
        # One scale a channel needs opset 13.
        onnx.save(onnx.version_converter.convert_version(onnx.load(source), 13), prepared)
        quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)
        quantize_graph(onnx.load(prepared), partial, inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--calibrate", type=Path, required=True, help="labels or images")
    options = parser.parse_args()
    quantize_peer(options.source, options.target, calibration_images(options.calibrate))


if __name__ == "__main__":
    main()
