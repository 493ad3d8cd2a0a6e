"""`OnnxModel`, a network in ONNX Runtime: uint8 images in, likely boxes out."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from extd.boxes import centers
from extd.catalog import Precision, find_weights, load_catalog
from extd.cpu import check_threads, cores, has_int8
from extd.faces import Faces

CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
}
"""ONNX Runtime's execution providers by their short names."""
AUTO = ("cuda", "directml", "coreml", "openvino", "cpu")
"""What `auto` tries, in this order; not TensorRT, which prepares itself for minutes."""
PATCH, GRAY = 4, 128
"""Side of a patch of a raw file's input, px, and the value of pixels beyond the image."""
THRESHOLD = 0.5
"""Least probability of a face, where a file has none stored."""


class OnnxModel:
    """A detector's ONNX file as `extd export` writes it, loaded. Arguments are `Detector`'s.

    Either the graph decodes boxes: input `images`, float32 [N, 3, H, W] of RGB 0 to 255; outputs
    `boxes` [N, A, 4] in pixels, `scores` [N, A] and perhaps `landmarks` [N, A, 5, 2]. Or `RawHead`
    does: input `patches`, uint8 [N, H / 4, W / 4, 48]; output `raw` [N, 15, A].

    Attributes:
        name: the model's name, or the file's if its metadata has none.
        path: the ONNX file; within a zip archive if the package is in one.
        content: its bytes.
        metadata: of the file: model, anchors, mean, training_data, ap, license, votes, threshold,
            sha256; values other than text are JSON.
        precision: `int8` or `float`, in which it computes.
        landmarks: whether it finds landmarks.
        box_voting: whether overlapping boxes are to be averaged by `extd.boxes.vote`.
        threads: as given.
        provider: ONNX Runtime's name of the execution provider that runs the network.
        padded: whether images are padded to one of a few sizes, with boxes within half a pixel of
            the same, except where a border cuts the face. Off the CPU they are: there, the first
            image of each size takes long.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        threads: int = 0,
        providers: str | Sequence[str] = "cpu",
        precision: Precision = "auto",
    ) -> None:
        check_threads(threads)
        self.threads = threads
        choices = _choices(providers)
        for self._wanted in choices:
            file = _find_file(model, self._wanted[0], precision)
            self.path = Path(str(file))
            # Kept, since other threads and processes load it again and the file may change.
            self.content = file.read_bytes()
            try:
                self._session = self._start()
            except ValueError:
                if self._wanted == choices[-1]:
                    raise
                continue
            self.provider: str = self._session.get_providers()[0]
            # ONNX Runtime goes on with the CPU where a provider does not start.
            if self.provider == self._wanted[0]:
                break
        else:
            raise ValueError(
                f"provider {short_name(self._wanted[0])!r} does not start on this machine; use "
                f"{short_name(self.provider)!r}, or install what it needs"
            )
        self.padded = self.provider != CPU
        inputs = {value.name for value in self._session.get_inputs()}
        outputs = {value.name for value in self._session.get_outputs()}
        raw = inputs == {"patches"} and outputs == {"raw"}
        if not raw and (inputs != {"images"} or not {"boxes", "scores"} <= outputs):
            raise ValueError(
                f"{self.path} has inputs {sorted(inputs)} and outputs {sorted(outputs)}; expected "
                "images, boxes and scores, as extd export writes them"
            )
        notes: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.metadata = {key.removeprefix("extd."): notes[key] for key in sorted(notes)}
        try:
            self._head = RawHead(**json.loads(self.metadata["anchors"])) if raw else None
            mean = json.loads(self.metadata.get("mean", json.dumps([GRAY] * 3)))
            self._mean = np.rint(np.broadcast_to(mean, 3)).astype(np.uint8)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path} has wrong metadata, {error}; export it again") from error
        self.landmarks = self._head is not None or "landmarks" in outputs
        self.name = self.metadata.get("model", self.path.stem)
        self.precision = self.metadata.get("precision", "float")
        if precision not in ("auto", self.precision):
            raise ValueError(f"{self.path} computes in {self.precision}, not in {precision}")
        if precision == "int8" and self.provider == CPU and not has_int8():
            warnings.warn(
                "no int8 instructions (VNNI) were found in this processor, so int8 is slow; "
                "precision 'auto' takes the faster weights",
                stacklevel=2,
            )
        self.box_voting = self.metadata.get("votes") == "true"

    @property
    def threshold(self) -> float:
        """Least probability of a face where `Options` give none."""
        return float(self.metadata.get("threshold", THRESHOLD))

    def _start(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        # By itself, ONNX Runtime counts the machine's cores, not those that are allowed.
        limited = cores() < (os.cpu_count() or 1)
        options.intra_op_num_threads = self.threads or (cores() if limited else 0)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Memory patterns are kept for each shape ever seen, and images come in all sizes.
        options.enable_mem_pattern = False
        try:
            return ort.InferenceSession(self.content, options, providers=self._wanted)
        except Exception as error:
            raise ValueError(f"ONNX Runtime cannot load {self.path}: {error}") from error

    def in_threads(self, threads: int) -> OnnxModel:
        """The same network with another number of threads."""
        other = OnnxModel.__new__(OnnxModel)
        other.__setstate__({**self.__getstate__(), "threads": threads})
        return other

    def __getstate__(self) -> dict[str, object]:
        # Sessions cannot be pickled; __setstate__ starts another.
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._session = self._start()

    def run(self, images: NDArray[np.uint8], threshold: float = 0.0) -> list[Faces]:
        """The boxes with scores above a threshold in each image of a batch, uint8 [N, H, W, 3].

        They are not clipped, and in the order of the anchors. Boxes that are not finite or inside
        out, as an untrained network's can be, are left out.

        Raises:
            ValueError: `images` has another shape or dtype, or ONNX Runtime fails, for example
                because memory runs out.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
            raise ValueError(
                f"images are {images.dtype} {images.shape}; expected uint8 (N, H, W, 3)"
            )
        height, width = images.shape[1:3]
        if not self.padded:
            return self._find(images, threshold)
        size = len(images), padded_side(height), padded_side(width), 3
        padded = np.full(size, self._mean)
        padded[:, :height, :width] = images
        return [_within(faces, width, height) for faces in self._find(padded, threshold)]

    def _find(self, images: NDArray[np.uint8], threshold: float) -> list[Faces]:
        height, width = images.shape[1:3]
        if self._head is not None:
            (raw,) = self._compute(["raw"], to_patches(images), width, height)
            return [self._head.decode(one, width, height, threshold) for one in raw]
        planes = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        names = ["boxes", "scores"] + ["landmarks"] * self.landmarks
        results = zip(*self._compute(names, planes, width, height), strict=True)
        likely = [[part[one[1] > threshold] for part in one] for one in results]
        return [_faces(width, height, *one) for one in likely]

    def _compute(
        self, outputs: list[str], images: NDArray[np.generic], width: int, height: int
    ) -> list[NDArray[np.float32]]:
        try:
            name = self._session.get_inputs()[0].name
            computed: list[NDArray[np.float32]] = self._session.run(outputs, {name: images})
        except Exception as error:  # ONNX Runtime's own errors have no common class
            raise ValueError(f"{self.name} cannot run on {width} x {height} px: {error}") from error
        return computed

    def __repr__(self) -> str:
        return f"OnnxModel({self.name!r}, provider={self.provider!r}, threads={self.threads})"


@dataclass(frozen=True, slots=True)
class RawHead:
    """The anchors of a raw ONNX file, from its metadata (`extd.models.export`)."""

    strides: Sequence[int]  # of the levels in px, finest first
    sizes: Sequence[float]  # sides of their anchors in px
    center_scale: float  # anchor sides by which an offset of 1 moves a box or landmark
    size_scale: float  # how much a size offset of 1 adds to the logarithm of a box's sides

    def decode(self, raw: NDArray[np.float32], width: int, height: int, threshold: float) -> Faces:
        """The boxes with scores above a threshold, in an image of `width` x `height` px.

        `raw` is float32 [15, A]: box offsets, log odds of a face, offsets of five landmarks.
        """
        with np.errstate(divide="ignore"):
            least = np.log(threshold) - math.log1p(-threshold)
        likely = np.flatnonzero(raw[4] > least)
        offsets, growth, log_odds, points = np.split(raw[:, likely].T, [2, 4, 5], axis=1)
        columns = [-(-width // stride) for stride in self.strides]
        rows = [-(-height // stride) for stride in self.strides]
        begins = np.cumsum([0, *np.multiply(rows, columns)])
        level = np.searchsorted(begins, likely, "right") - 1
        row, column = np.divmod(likely - begins[level], np.array(columns)[level])
        stride = np.array(self.strides)[level, None]
        side = np.array(self.sizes, np.float32)[level, None]
        center = (np.stack([column, row], 1) + 0.5) * stride
        middle = center + offsets * (self.center_scale * side)
        with np.errstate(over="ignore"):
            half = side * np.exp(growth * self.size_scale) / 2
        boxes = np.hstack([middle - half, middle + half]).astype(np.float32)
        scores = (1 / (1 + np.exp(-log_odds[:, 0]))).astype(np.float32)
        points = points.reshape(-1, 5, 2) * (self.center_scale * side)[:, None]
        landmarks = (center[:, None] + points).astype(np.float32)
        return _faces(width, height, boxes, scores, landmarks)


def padded_side(side: int) -> int:
    """The next of 4, 5, 6 and 7 times a power of two px, and of 64, 128, 192 and 256 px."""
    step = max(64, 1 << (side - 1).bit_length() >> 3)
    return -(-side // step) * step


def _within(faces: Faces, width: int, height: int) -> Faces:
    """The faces in the upper left part of an image, of that size in pixels."""
    chosen = faces[np.flatnonzero((centers(faces.boxes) < (width, height)).all(1))]
    return Faces(chosen.boxes, chosen.scores, width, height, chosen.landmarks)


def to_patches(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [N, H, W, 3] as patches of 4 x 4 px, [N, ceil(H / 4), ceil(W / 4), 48]."""
    count, height, width, _ = images.shape
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    borders = ((0, 0), (0, -height % PATCH), (0, -width % PATCH), (0, 0))
    if (rows * PATCH, columns * PATCH) != (height, width):
        images = np.pad(images, borders, constant_values=GRAY)
    # Moving rows of a patch, 12 bytes, as single values is several times as fast as bytes.
    flat = np.ascontiguousarray(images).reshape(-1, 3 * PATCH).view(f"V{3 * PATCH}")
    lines = flat.reshape(count, rows, PATCH, columns).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(lines).view(np.uint8).reshape(count, rows, columns, -1)


def _faces(
    width: int,
    height: int,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    landmarks: NDArray[np.float32] | None = None,
) -> Faces:
    """The boxes that are finite and not inside out."""
    good = np.isfinite(boxes).all(1) & (boxes[:, 2:] >= boxes[:, :2]).all(1)
    points = None if landmarks is None else landmarks[good]
    return Faces(boxes[good], scores[good], width, height, points)


def _find_file(model: str | Path, provider: str, precision: Precision) -> Traversable:
    """The ONNX file at the path `model`, or that ships under that name."""
    path = Path(model)
    suffix = path.suffix.lower()
    if suffix == ".onnx" and path.is_file():
        return path
    if suffix == ".onnx":
        raise FileNotFoundError(f"there is no file {model}")
    if suffix == ".safetensors":
        raise ValueError(f"{model} is a checkpoint; run: extd export {model} model.onnx")
    if suffix in {".pth", ".pt"}:
        raise ValueError(
            f"{model} is a PyTorch checkpoint; run: extd convert {model} model.safetensors, "
            "then: extd export model.safetensors model.onnx"
        )
    if len(path.parts) != 1 or suffix:
        raise ValueError(f"{model} is neither a model's name nor an .onnx file")
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; choose one of {get_args(Precision)}")
    int8: bool | None = precision == "int8"
    if precision == "auto" and provider == CPU and has_int8():
        int8 = None
    return find_weights(str(model), load_catalog(), int8=int8)


def _choices(providers: str | Sequence[str]) -> list[list[str]]:
    """ONNX Runtime's names of the providers to try, the first alternative first."""
    given = [providers] if isinstance(providers, str) else list(providers)
    available = ort.get_available_providers()
    if [name.lower() for name in given] == ["auto"]:
        return [[PROVIDERS[name]] for name in AUTO if PROVIDERS[name] in available]
    names = [PROVIDERS.get(name.lower(), name) for name in given]
    missing = [name for name, full in zip(given, names, strict=True) if full not in available]
    if missing or not given:
        installed = ", ".join(map(short_name, available))
        raise ValueError(f"providers {missing} are not installed; choose from auto, {installed}")
    return [names]


def short_name(provider: str) -> str:
    """The short name of a provider of ONNX Runtime, if it has one."""
    return next((short for short, name in PROVIDERS.items() if name == provider), provider)
