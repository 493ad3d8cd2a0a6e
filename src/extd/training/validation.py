"""AP of a network in training, measured by the detector that people will run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from extd.data.datasets import read_dataset
from extd.data.sample import Sample
from extd.detector import Detector
from extd.evaluation.labeled import evaluate_labeled
from extd.evaluation.protocols import single
from extd.images import read_image
from extd.models.export import export_onnx
from extd.models.network import TorchNetwork


def open_validation(path: str) -> list[Sample]:
    """The pictures to measure on, each read once before hours of training depend on it.

    Raises:
        FileNotFoundError: the labels or a picture are missing.
        ValueError: a picture is broken, or none has a face.
    """
    pictures = read_dataset(Path(path))
    if not any(len(picture.boxes) for picture in pictures):
        raise ValueError(f"validation.path: no picture of {path} has a labelled face")
    for picture in pictures:
        read_image(picture.path)
    return pictures


def average_precision(
    network: TorchNetwork, pictures: Sequence[Sample], threads: int
) -> dict[str, float]:
    """AP by the size of faces (`extd.evaluation.labeled.SIZES`), protocol `single`.

    Args:
        network: in evaluation mode, on any device; it is left as it is.
        pictures: labelled, with a face among them.
        threads: of ONNX Runtime.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, path)
        detector = Detector(path, threads=threads)
        return evaluate_labeled(partial(single, detector), pictures).ap
