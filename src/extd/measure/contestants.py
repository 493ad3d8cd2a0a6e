"""Detectors to be measured side by side: a small protocol, and what adapts files to it.

Pictures are BGR here, as OpenCV reads them and as other detectors take them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from extd.boxes import VOTERS, Boxes, area, clip, suppress
from extd.faces import Faces
from extd.images import Image
from extd.measure.protocols import SINGLE
from extd.runtime import CPU

Planes = NDArray[np.float32]
Found = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Boxes [A, 4], x1, y1, x2, y2 in pixels of the picture, and scores [A], 0 to 1."""


class Contestant(Protocol):
    """Any detector. One that is no more than this is timed as a whole."""

    @property
    def name(self) -> str:
        """What tables and pictures call it."""

    def detect(self, bgr: Image, /) -> Faces:
        """The faces of a picture, uint8 [H, W, 3] BGR, best first."""


@runtime_checkable
class StagedContestant(Contestant, Protocol):
    """A detector whose network is timed apart: `detect` is its three stages in a row."""

    def prepare(self, bgr: Image, /) -> Any:
        """What the network takes, an array or tensor [1, 3, H', W']."""

    def infer(self, inputs: Any, /) -> Any:
        """The network alone; returns when its outputs are computed."""

    def finish(self, outputs: Any, bgr: Image, /) -> Faces:
        """Decoding and non-maximum suppression of what the network gave for the picture `bgr`."""


class FileContestant(Contestant, Protocol):
    """A detector that was loaded from a file."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def note(self) -> str:
        """How it is run: its NMS threshold, and whether pictures are resized for it."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How pictures enter one family of ONNX files, and how boxes come out.

    Attributes:
        prepare: BGR uint8 [H, W, 3] to the input, float32 [1, 3, H', W'].
        decode: the outputs, in the file's order, and the picture's width and height to boxes.
        nms_iou: its authors' threshold; of two boxes that overlap more only the better stays.
        remark: what distorts a comparison; empty where nothing does.
        votes: whether the better box moves to the mean of those it suppresses.
    """

    prepare: Callable[[Image], Planes]
    decode: Callable[[Sequence[Planes], int, int], Found]
    nms_iou: float
    remark: str = ""
    votes: bool = False


@dataclass(frozen=True, slots=True)
class OnnxContestant:
    """An ONNX file in ONNX Runtime on the CPU.

    Attributes:
        name: what tables and pictures call it.
        path: the file.
        session: the loaded file.
        scheme: of its family.
        threshold: faces have scores above it.
    """

    name: str
    path: Path
    session: ort.InferenceSession
    scheme: Scheme
    threshold: float

    @property
    def note(self) -> str:
        """Its NMS threshold, whether boxes vote, and what distorts a comparison."""
        votes = ", box voting" if self.scheme.votes else ""
        remark = self.scheme.remark and f", {self.scheme.remark}"
        return f"NMS {self.scheme.nms_iou:g}{votes}{remark}"

    @property
    def takes_batches(self) -> bool:
        """Whether several inputs can be run at once."""
        return not isinstance(self.session.get_inputs()[0].shape[0], int)

    def prepare(self, bgr: Image) -> Planes:
        """The input for one picture, float32 [1, 3, H', W']."""
        return self.scheme.prepare(bgr)

    def infer(self, inputs: Planes) -> list[Planes]:
        """All outputs of the file for a batch of inputs.

        Raises:
            ValueError: ONNX Runtime fails, as when memory runs out.
        """
        try:
            outputs: list[Planes] = self.session.run(
                None, {self.session.get_inputs()[0].name: inputs}
            )
        except Exception as error:  # ONNX Runtime's own errors have no common class
            height, width = inputs.shape[2:]
            raise ValueError(f"{self.name} cannot run on {width} x {height} px: {error}") from error
        return outputs

    def finish(self, outputs: Sequence[Planes], bgr: Image) -> Faces:
        """The faces in the outputs for the picture `bgr`."""
        height, width = bgr.shape[:2]
        boxes, scores = self.scheme.decode(outputs, width, height)
        scheme = self.scheme
        found = best_boxes(boxes, scores, self.threshold, scheme.nms_iou, votes=scheme.votes)
        return best_faces(*found, width, height)

    def detect(self, bgr: Image) -> Faces:
        """The faces of a picture, uint8 [H, W, 3] BGR, best first."""
        return self.finish(self.infer(self.prepare(bgr)), bgr)


@dataclass(frozen=True, slots=True)
class OpencvContestant:
    """OpenCV's `FaceDetectorYN`, which shows no stages.

    Attributes:
        name: what tables and pictures call it.
        path: the ONNX file, a YuNet of fixed input size.
        detector: with that file.
    """

    name: str
    path: Path
    detector: cv2.FaceDetectorYN

    @property
    def note(self) -> str:
        """Its NMS threshold."""
        return f"NMS {self.detector.getNMSThreshold():g}, run by OpenCV"

    def detect(self, bgr: Image) -> Faces:
        """The faces of a picture, uint8 [H, W, 3] BGR, best first."""
        height, width = bgr.shape[:2]
        self.detector.setInputSize((width, height))
        rows: Any = self.detector.detect(bgr)[1]
        # None where nothing is found; a row is x, y, width, height, five landmarks, score.
        found = np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
        boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
        order = np.argsort(-found[:, 14], kind="stable")
        return best_faces(boxes[order], found[order, 14], width, height)


def open_opencv(
    name: str, path: Path, *, threads: int, threshold: float, nms_iou: float
) -> OpencvContestant:
    """OpenCV's `FaceDetectorYN` with the ONNX file `path`.

    Args:
        name: what tables and pictures call it.
        path: a YuNet of fixed input size.
        threads: of all OpenCV in this process; 0 is one for each core.
        threshold: faces have scores above it.
        nms_iou: of two boxes that overlap by a greater IoU only the better stays.

    Raises:
        ValueError: OpenCV cannot load the file.
    """
    cv2.setNumThreads(threads or -1)
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        detector = cv2.FaceDetectorYN.create(
            str(path), "", (320, 320), threshold, nms_iou, SINGLE.top_k
        )
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot load {path}: {error}") from error
    finally:
        cv2.utils.logging.setLogLevel(level)
    return OpencvContestant(name, path, detector)


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """An ONNX file in ONNX Runtime on the CPU, with the settings of `extd.runtime.OnnxModel`.

    Args:
        path: the file.
        threads: how many compute; 0 is one for each core.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: ONNX Runtime cannot load it, or `threads` is negative.
    """
    if threads < 0:
        raise ValueError(f"threads is {threads}; give 0 for one a core, or how many")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    # Idle threads that spin would slow down the next contestant.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return ort.InferenceSession(str(path), options, providers=[CPU])
    except Exception as error:  # ONNX Runtime's own errors have no common class
        raise ValueError(f"ONNX Runtime cannot load {path}: {error}") from error


def best_boxes(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    threshold: float,
    nms_iou: float,
    *,
    votes: bool = False,
) -> Found:
    """The best 5000 of one pass, as a `Detector` keeps them, after non-maximum suppression.

    Args:
        boxes: [A, 4], x1, y1, x2, y2; those that are not finite or upside down are dropped.
        scores: [A], 0 to 1.
        threshold: boxes with scores above it are kept.
        nms_iou: of two boxes that overlap by a greater IoU only the better stays.
        votes: it moves to the mean of those it suppresses.
    """
    likely = np.flatnonzero(scores > threshold * (VOTERS if votes else 1))
    best = likely[np.argsort(-scores[likely], kind="stable")[: SINGLE.top_k]]
    boxes, scores = boxes[best], scores[best]
    proper = np.isfinite(boxes).all(1) & (boxes[:, 2:] >= boxes[:, :2]).all(1)
    boxes, scores = boxes[proper], scores[proper]
    return suppress(boxes, scores, threshold, nms_iou, votes=votes)


def best_faces(boxes: Boxes, scores: NDArray[np.float32], width: int, height: int) -> Faces:
    """The first 750 boxes that are not wholly outside the picture, cut off at its borders."""
    boxes = clip(boxes, width, height)
    chosen = np.flatnonzero(area(boxes) > 0)[: SINGLE.max_faces]
    return Faces(boxes[chosen], scores[chosen].clip(0, 1), width, height)


def rgb_planes(bgr: Image) -> Planes:
    """A picture as the input of `extd export`'s files: float32 [1, 3, H, W], RGB of 0 to 255."""
    return bgr[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32, order="C")


def _decoded(outputs: Sequence[Planes], width: int, height: int) -> Found:
    """The graph has decoded its boxes already."""
    boxes, scores = outputs
    return boxes[0], scores[0]


def ours(votes: bool) -> Scheme:
    """Files of `extd export`: input `images`, outputs `boxes` and `scores`."""
    return Scheme(rgb_planes, _decoded, SINGLE.nms_iou, votes=votes)
