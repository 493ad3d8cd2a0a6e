"""ONNX files of other face detectors, as their authors publish them, beside those of `extd export`.

YuNet: https://github.com/ShiqiYu/libfacedetection.train; SCRFD: InsightFace, arXiv 2105.04714;
Ultra-Light RFB: https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB. A file is
recognised by its inputs and outputs. Decoding is vectorised NumPy, not the authors' code, and so
are the times of post-processing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from extd.catalog import find_weights, load_catalog
from extd.images import Image
from extd.measure.contestants import (
    Found,
    OnnxContestant,
    OpencvContestant,
    Planes,
    Scheme,
    open_opencv,
    open_session,
    ours,
)

STRIDES = (8, 16, 32)
YUNET_OUTPUTS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
YUNET_NMS_IOU = 0.45


def load_contestant(
    model: str | Path, threads: int = 1, threshold: float = 0.5
) -> OnnxContestant | OpencvContestant:
    """A detector to be measured, told by what its file takes and gives.

    Args:
        model: name of a model whose weights ship, or an ONNX file: of `extd export`, YuNet
            (one of fixed input size is run by OpenCV's FaceDetectorYN), SCRFD or Ultra-Light RFB.
        threads: how many threads compute; 0 is one for each core.
        threshold: faces have scores above it; to measure AP, give one near 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the name is unknown or has no weights, or the file is of another kind.
    """
    path = Path(model)
    if path.suffix.lower() == ".onnx":
        name = path.stem
    elif path.suffix or len(path.parts) != 1:
        raise ValueError(f"{model} is neither a model's name nor an .onnx file")
    else:
        name, path = str(model).lower(), find_weights(str(model), load_catalog())
    session = open_session(path, threads)
    if fixed_yunet(session):
        return open_opencv(name, path, threads=threads, threshold=threshold, nms_iou=YUNET_NMS_IOU)
    return OnnxContestant(name, path, session, find_scheme(session, path), threshold)


def find_peers(folder: Path) -> list[Path]:
    """The ONNX files of a folder, by name.

    Raises:
        FileNotFoundError: there are none.
    """
    paths = sorted(folder.glob("*.onnx"))
    if not paths:
        raise FileNotFoundError(f"there are no .onnx files in {folder}")
    return paths


def fixed_yunet(session: ort.InferenceSession) -> bool:
    """Whether it is a YuNet whose input has one size, which OpenCV's FaceDetectorYN adapts."""
    names = [output.name for output in session.get_outputs()]
    return names == YUNET_OUTPUTS and isinstance(session.get_inputs()[0].shape[2], int)


def find_scheme(session: ort.InferenceSession, path: Path) -> Scheme:
    """How the file at `path`, loaded in `session`, is used.

    Raises:
        ValueError: it is of no known kind; the message lists its inputs and outputs.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    names = [output.name for output in outputs]
    channels = [output.shape[-1] for output in outputs]
    if inputs[0].name == "images" and names == ["boxes", "scores"]:
        notes = session.get_modelmeta().custom_metadata_map
        return ours(votes=notes.get("extd.votes") == "true")
    if names == YUNET_OUTPUTS:
        return YUNET
    if channels == [1, 1, 1, 4, 4, 4, 10, 10, 10]:
        return SCRFD
    _, _, height, width = inputs[0].shape
    if names == ["scores", "boxes"] and isinstance(height, int) and isinstance(width, int):
        return ultra_light(width, height)
    raise ValueError(
        f"{path} has the inputs {[value.name for value in inputs]} and outputs {names}; known are "
        "files of extd export, YuNet, SCRFD and Ultra-Light RFB"
    )


def yunet_input(bgr: Image) -> Planes:
    """BGR of 0 to 255, [1, 3, H, W], padded at the right and bottom to multiples of 32."""
    planes = _padded(bgr)[None].transpose(0, 3, 1, 2)
    return planes.astype(np.float32, order="C")


def yunet_boxes(outputs: Sequence[Planes], width: int, height: int) -> Found:
    """Boxes and scores of YuNet's classes, objectness and boxes at strides 8, 16, 32.

    In the cell of stride s at column c and row r the centre is ((c + b0)·s, (r + b1)·s), the size
    (exp(b2)·s, exp(b3)·s), and the score the geometric mean of class and objectness.
    """
    classes, objectness, boxes = (
        np.concatenate([level[0] for level in outputs[first : first + 3]]) for first in (0, 3, 6)
    )
    scores = np.sqrt(classes[:, 0].clip(0, 1) * objectness[:, 0].clip(0, 1))
    cells, stride = _cells(width, height, anchors=1)
    centre = (cells + boxes[:, :2]) * stride
    half = np.exp(boxes[:, 2:]) * (stride / 2)
    return np.concatenate([centre - half, centre + half], axis=1), scores


def scrfd_input(bgr: Image) -> Planes:
    """RGB as (x - 127.5) / 128, [1, 3, H, W], padded at right and bottom to multiples of 32."""
    return _normalised(_padded(bgr), mean=127.5)


def scrfd_boxes(outputs: Sequence[Planes], width: int, height: int) -> Found:
    """Boxes and scores of SCRFD's scores and distances at strides 8, 16, 32.

    Two anchors stand at (c·s, r·s) for column c and row r; a box is its distances to the left,
    top, right and bottom, in strides.
    """
    scores = np.concatenate(outputs[:3])[:, 0]
    cells, stride = _cells(width, height, anchors=2)
    distances = np.concatenate(outputs[3:6])
    corners = [(cells - distances[:, :2]) * stride, (cells + distances[:, 2:]) * stride]
    return np.concatenate(corners, axis=1), scores


def ultra_light(width: int, height: int) -> Scheme:
    """The scheme of an Ultra-Light file whose input has that size in pixels."""
    prepare = partial(ultra_light_input, width=width, height=height)
    return Scheme(prepare, ultra_light_boxes, 0.3, f"pictures resized to {width}x{height}")


def ultra_light_input(bgr: Image, width: int, height: int) -> Planes:
    """RGB as (x - 127) / 128, stretched to the one size that the file takes, [1, 3, H, W]."""
    return _normalised(np.asarray(cv2.resize(bgr, (width, height)), np.uint8), mean=127)


def ultra_light_boxes(outputs: Sequence[Planes], width: int, height: int) -> Found:
    """Boxes and scores of Ultra-Light's outputs: decoded, relative to width and height."""
    scores, boxes = outputs
    return boxes[0] * np.array([width, height] * 2, np.float32), scores[0, :, 1]


YUNET = Scheme(yunet_input, yunet_boxes, YUNET_NMS_IOU)
SCRFD = Scheme(scrfd_input, scrfd_boxes, 0.4)


def _padded(image: Image) -> Image:
    """The picture with zeros at the right and bottom, up to multiples of the coarsest stride."""
    height, width = image.shape[:2]
    bottom, right = -height % STRIDES[-1], -width % STRIDES[-1]
    return np.pad(image, ((0, bottom), (0, right), (0, 0)))


def _normalised(bgr: Image, mean: float) -> Planes:
    """RGB as (x - mean) / 128, float32 [1, 3, H, W]."""
    planes = bgr[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32, order="C")
    planes -= mean
    planes /= 128
    return planes


def _cells(
    width: int, height: int, anchors: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns and rows [A, 2], and strides [A, 1], of all cells of a padded picture, row by row.

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
