"""Face detectors behind one interface: ours, and those of others as their authors publish them.

YuNet: https://github.com/ShiqiYu/libfacedetection.train; SCRFD: InsightFace, arXiv 2105.04714;
Ultra-Light RFB: https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB. A file is
recognized by its inputs and outputs. Decoding is vectorized NumPy, not the authors' code, and so
are the times of post-processing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from extd.boxes import area, clip, nms
from extd.catalog import DEFAULT_MODEL, load_catalog
from extd.detector import Detector
from extd.evaluation.protocols import SINGLE
from extd.faces import Faces
from extd.pixels import Image

Array = NDArray[np.float32]
Decoded = tuple[Array, Array]
"""Boxes [A, 4], xyxy in pixels of the image, and scores [A], 0 to 1."""
Detect = Callable[[Image, float], tuple[Faces, float]]
"""Image [H, W, 3] RGB and threshold to faces, and the seconds from the image to the network's
outputs: nan where they cannot be told apart from the rest."""

STRIDES = (8, 16, 32)
YUNET_OUTPUTS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
YUNET_NMS_IOU = 0.45


@dataclass(frozen=True, slots=True)
class FaceDetector:
    """A detector to compare.

    Attributes:
        model: as given to `open_detector`.
        name: in tables and figures.
        how: it is run: its NMS threshold, and what distorts a comparison.
        detect: finds faces.
    """

    model: str
    name: str
    how: str
    detect: Detect


@dataclass(frozen=True, slots=True)
class Family:
    """How images enter one family of networks, and how boxes come out.

    Attributes:
        prepare: RGB uint8 [H, W, 3] to the input, float32 [1, 3, H', W'].
        decode: the outputs, in the file's order, and the image's width and height to boxes.
        nms_iou: its authors' threshold.
        remark: what distorts a comparison.
    """

    prepare: Callable[[Image], Array]
    decode: Callable[[Sequence[Array], int, int], Decoded]
    nms_iou: float
    remark: str = ""


def open_detectors(
    models: Sequence[str], peers: Path | None, threads: int = 1
) -> list[FaceDetector]:
    """Several detectors, as `open_detector`.

    Args:
        models: as for `open_detector`; without any, all whose weights ship, the default first.
        peers: folder of .onnx files to compare them with.
        threads: of each; 0 is one per core.

    Raises:
        FileNotFoundError: a file is missing, or `peers` has none.
        ValueError: a model is unknown, or two detectors have the same name.
    """
    shipped = [model.name for model in load_catalog() if model.weights]
    names = list(models) or sorted(shipped, key=lambda name: name != DEFAULT_MODEL)
    if peers is not None:
        files = sorted(str(path) for path in peers.glob("*.onnx"))
        if not files:
            raise FileNotFoundError(f"there are no .onnx files in {peers}")
        names += files
    detectors = [open_detector(name, threads) for name in names]
    known = [detector.name for detector in detectors]
    if len(set(known)) < len(known):
        raise ValueError(f"two detectors have the same name among {known}; rename a file")
    return detectors


def open_detector(model: str, threads: int = 1) -> FaceDetector:
    """A detector to compare.

    Args:
        model: a model whose weights ship, or an ONNX file of `extd export`, YuNet (one of fixed
            input size is run by OpenCV), SCRFD or Ultra-Light RFB.
        threads: 0 is one per core. Those of OpenCV are of the whole process.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model is unknown, or the file is of another kind.
    """
    path = Path(model)
    if path.suffix != ".onnx":
        return open_exported(model, threads)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    # Idle threads that spin would slow down the next detector.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors have no common class
        raise ValueError(f"ONNX Runtime cannot load {path}: {error}") from error
    name = session.get_inputs()[0].name
    if name in {"images", "patches"}:
        return open_exported(model, threads)
    outputs = [output.name for output in session.get_outputs()]
    if outputs == YUNET_OUTPUTS and isinstance(session.get_inputs()[0].shape[2], int):
        return open_opencv_yunet(path, threads)
    family = find_family(session, path)

    def infer(inputs: Array) -> Sequence[Array]:
        found: Sequence[Array] = session.run(None, {name: inputs})
        return found

    how = f"NMS {family.nms_iou:g}{family.remark}"
    return FaceDetector(model, path.stem, how, partial(detect, family, infer))


def detect(
    family: Family, infer: Callable[[Array], Sequence[Array]], image: Image, threshold: float
) -> tuple[Faces, float]:
    """`Detect` for a network of `family`: at most as many boxes and faces as `SINGLE` allows."""
    height, width = image.shape[:2]
    began = time.perf_counter()
    outputs = infer(family.prepare(image))
    seconds = time.perf_counter() - began
    boxes, scores = family.decode(outputs, width, height)
    likely = np.flatnonzero(scores > threshold)
    best = likely[np.argsort(-scores[likely], kind="stable")[: SINGLE.top_k]]
    best = best[np.isfinite(boxes[best]).all(1)]
    best = best[nms(boxes[best], scores[best], family.nms_iou)]
    return _clipped(boxes[best], scores[best], width, height), seconds


def _clipped(boxes: Array, scores: Array, width: int, height: int) -> Faces:
    """The first faces that are not wholly outside the image, as many as `SINGLE` allows."""
    boxes = clip(boxes, width, height)
    chosen = np.flatnonzero(area(boxes) > 0)[: SINGLE.max_faces]
    return Faces(boxes[chosen], scores[chosen].clip(0, 1), width, height)


def open_exported(model: str, threads: int) -> FaceDetector:
    """A model of the package or a file of `extd export` in the package's own `Detector`."""
    detector = Detector(model, threads=threads)
    network = detector.network
    run, seconds = network.run, 0.0

    def timed(*arguments: Any) -> Any:
        nonlocal seconds
        began = time.perf_counter()
        outputs = run(*arguments)
        seconds += time.perf_counter() - began
        return outputs

    # What users run is measured, with a clock around its network.
    network.run = cast("Any", timed)  # type: ignore[method-assign]

    def detect(image: Image, threshold: float) -> tuple[Faces, float]:
        nonlocal seconds
        seconds = 0.0
        faces = detector.detect(image, replace(SINGLE, threshold=threshold))
        return faces, seconds

    voting = ", box voting" if network.box_voting else ""
    return FaceDetector(model, network.path.stem, f"NMS {SINGLE.nms_iou:g}{voting}", detect)


def open_opencv_yunet(path: Path, threads: int) -> FaceDetector:
    """A YuNet of fixed input size in OpenCV's `FaceDetectorYN`, which shows no stages."""
    cv2.setNumThreads(threads or -1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.5, YUNET_NMS_IOU, SINGLE.top_k)

    def detect(image: Image, threshold: float) -> tuple[Faces, float]:
        height, width = image.shape[:2]
        network.setInputSize((width, height))
        network.setScoreThreshold(threshold)
        rows: Any = network.detect(np.ascontiguousarray(image[:, :, ::-1]))[1]
        # None where nothing is found; a row is x, y, width, height, five landmarks, score.
        found = np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
        boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
        order = np.argsort(-found[:, 14], kind="stable")
        return _clipped(boxes[order], found[order, 14], width, height), float("nan")

    return FaceDetector(str(path), path.stem, f"NMS {YUNET_NMS_IOU:g}, run by OpenCV", detect)


def find_family(session: ort.InferenceSession, path: Path) -> Family:
    """How the file at `path`, loaded in `session`, is used.

    Raises:
        ValueError: it is of no known kind; the message lists its inputs and outputs.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    names = [output.name for output in outputs]
    if names == YUNET_OUTPUTS:
        return Family(yunet_input, yunet_boxes, YUNET_NMS_IOU)
    if [output.shape[-1] for output in outputs] == [1, 1, 1, 4, 4, 4, 10, 10, 10]:
        return Family(scrfd_input, scrfd_boxes, 0.4)
    shape = inputs[0].shape
    if names == ["scores", "boxes"] and all(isinstance(side, int) for side in shape[2:]):
        prepare = partial(ultra_light_input, width=shape[3], height=shape[2])
        remark = f", images resized to {shape[3]}x{shape[2]}"
        return Family(prepare, ultra_light_boxes, 0.3, remark)
    raise ValueError(
        f"{path} has the inputs {[value.name for value in inputs]} and outputs {names}; known are "
        "files of extd export, YuNet, SCRFD and Ultra-Light RFB"
    )


def yunet_input(image: Image) -> Array:
    """BGR of 0 to 255, [1, 3, H, W], padded at the right and bottom to multiples of 32."""
    return np.ascontiguousarray(_rgb_planes(_padded(image))[:, ::-1])


def yunet_boxes(outputs: Sequence[Array], width: int, height: int) -> Decoded:
    """Boxes and scores of YuNet's classes, objectness and boxes at strides 8, 16, 32.

    In the cell of stride s at column c and row r the center is ((c + b0)·s, (r + b1)·s), the size
    (exp(b2)·s, exp(b3)·s), and the score the geometric mean of class and objectness.
    """
    classes, objectness, boxes = (
        np.concatenate([level[0] for level in outputs[first : first + 3]]) for first in (0, 3, 6)
    )
    scores = np.sqrt(classes[:, 0].clip(0, 1) * objectness[:, 0].clip(0, 1))
    cells, stride = _cells(width, height, anchors=1)
    center = (cells + boxes[:, :2]) * stride
    half = np.exp(boxes[:, 2:]) * (stride / 2)
    return np.concatenate([center - half, center + half], axis=1), scores


def scrfd_input(image: Image) -> Array:
    """RGB as (x - 127.5) / 128, [1, 3, H, W], padded at right and bottom to multiples of 32."""
    return (_rgb_planes(_padded(image)) - np.float32(127.5)) / np.float32(128)


def scrfd_boxes(outputs: Sequence[Array], width: int, height: int) -> Decoded:
    """Boxes and scores of SCRFD's scores and distances at strides 8, 16, 32.

    Two anchors stand at (c·s, r·s) for column c and row r; a box is its distances to the left,
    top, right and bottom, in strides.
    """
    scores = np.concatenate(outputs[:3])[:, 0]
    cells, stride = _cells(width, height, anchors=2)
    distances = np.concatenate(outputs[3:6])
    corners = [(cells - distances[:, :2]) * stride, (cells + distances[:, 2:]) * stride]
    return np.concatenate(corners, axis=1), scores


def ultra_light_input(image: Image, width: int, height: int) -> Array:
    """RGB as (x - 127) / 128, stretched to the one size that the file takes, [1, 3, H, W]."""
    resized = np.asarray(cv2.resize(image, (width, height)), np.uint8)
    return (_rgb_planes(resized) - np.float32(127)) / np.float32(128)


def ultra_light_boxes(outputs: Sequence[Array], width: int, height: int) -> Decoded:
    """Boxes and scores of Ultra-Light's outputs: decoded, relative to width and height."""
    scores, boxes = outputs
    return boxes[0] * np.array([width, height] * 2, np.float32), scores[0, :, 1]


def _rgb_planes(image: Image) -> Array:
    """RGB of 0 to 255, float32 [1, 3, H, W]."""
    return image[None].transpose(0, 3, 1, 2).astype(np.float32, order="C")


def _padded(image: Image) -> Image:
    """The image with zeros at the right and bottom, up to multiples of the coarsest stride."""
    height, width = image.shape[:2]
    bottom, right = -height % STRIDES[-1], -width % STRIDES[-1]
    return np.pad(image, ((0, bottom), (0, right), (0, 0)))


def _cells(width: int, height: int, anchors: int) -> tuple[Array, Array]:
    """Columns and rows [A, 2], and strides [A, 1], of all cells of a padded image, row by row.

    Each cell comes `anchors` times, one after the other.
    """
    grids, strides = [], []
    for stride in STRIDES:
        # The padded side is a multiple of the coarsest stride.
        rows, columns = (
            -(-side // STRIDES[-1]) * (STRIDES[-1] // stride) for side in (height, width)
        )
        row, column = np.mgrid[:rows, :columns].astype(np.float32)
        grid = np.stack([column.ravel(), row.ravel()], axis=1).repeat(anchors, axis=0)
        grids.append(grid)
        strides.append(np.full((len(grid), 1), stride, np.float32))
    return np.concatenate(grids), np.concatenate(strides)
