"""A network in ONNX Runtime: uint8 pictures in, decoded boxes and face probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from extd.catalog import find_weights, load_catalog
from extd.prefetch import check_threads

CPU = "CPUExecutionProvider"


class OnnxModel:
    """A detector's ONNX file, loaded.

    The file has an input `images`, float32 [N, 3, H, W] of RGB 0 to 255, and the outputs `boxes`,
    [N, A, 4] in pixels of the input, and `scores`, [N, A]: `extd export` writes such files.

    Attributes:
        name: the model's name, or the file's where it does not tell.
        path: the ONNX file.
        metadata: what the file says of itself: model, anchors, mean, training_data, ap, license,
            votes, sha256; values that are no text are JSON.
        votes: whether boxes that overlap are to be averaged: `extd.boxes.vote`.
        threads: as given.
        provider: the execution provider that runs the network.
    """

    def __init__(
        self, model: str | Path, *, threads: int = 0, providers: Sequence[str] | None = None
    ) -> None:
        """Load a network.

        Args:
            model: name of a model whose weights ship (any letter case), or an `.onnx` file.
            threads: how many threads compute; 0 is one for each core.
            providers: ONNX Runtime's execution providers, preferred first; without it the CPU.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be opened, as without permission.
            ValueError: the name is unknown or has no weights, the file is no exported detector,
                or the first provider does not run here.
        """
        check_threads(threads)
        self._wanted = _check_providers(CPU if providers is None else providers)
        self.path = _find_file(model)
        self.threads = threads
        # Kept, for what lies at that path may be another network tomorrow.
        self._file = self.path.read_bytes()
        self._session = self._start()
        self.provider: str = self._session.get_providers()[0]
        if self.provider != self._wanted[0]:
            raise ValueError(
                f"provider {self._wanted[0]!r} does not start on this machine; use "
                f"{self.provider!r}, or install what it needs"
            )
        inputs = {value.name for value in self._session.get_inputs()}
        outputs = {value.name for value in self._session.get_outputs()}
        if inputs != {"images"} or not {"boxes", "scores"} <= outputs:
            raise ValueError(
                f"{self.path} has inputs {sorted(inputs)} and outputs {sorted(outputs)}; expected "
                "images, boxes and scores, as extd export writes them"
            )
        notes: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.metadata = {key.removeprefix("extd."): notes[key] for key in sorted(notes)}
        self.name = self.metadata.get("model", self.path.stem)
        self.votes = self.metadata.get("votes") == "true"

    def _start(self) -> ort.InferenceSession:
        """The network, ready to run."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A pattern is kept for every input shape ever seen, and pictures come in all sizes.
        options.enable_mem_pattern = False
        try:
            return ort.InferenceSession(self._file, options, providers=self._wanted)
        except Exception as error:
            raise ValueError(f"ONNX Runtime cannot load {self.path}: {error}") from error

    def in_threads(self, threads: int) -> OnnxModel:
        """The same network, computing in so many threads."""
        other = OnnxModel.__new__(OnnxModel)
        other.__setstate__({**self.__getstate__(), "threads": threads})
        return other

    def __getstate__(self) -> dict[str, object]:
        # What runs cannot go to another process; it starts again there.
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._session = self._start()

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run a batch of pictures of one size.

        Args:
            images: uint8 [N, H, W, 3], RGB.

        Returns:
            Boxes, float32 [N, A, 4]: x1, y1, x2, y2 in pixels of these images, decoded, unclipped.
            Scores, float32 [N, A]: face probability.

        Raises:
            ValueError: another shape or type, or ONNX Runtime fails, as when memory runs out.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
            raise ValueError(
                f"images are {images.dtype} {images.shape}; expected uint8 (N, H, W, 3)"
            )
        planes = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        try:
            boxes, scores = self._session.run(["boxes", "scores"], {"images": planes})
        except Exception as error:  # ONNX Runtime's own errors have no common class
            raise ValueError(
                f"{self.name} cannot run on {images.shape[2]} x {images.shape[1]} px: {error}"
            ) from error
        return boxes, scores

    def __repr__(self) -> str:
        return f"OnnxModel({self.name!r}, provider={self.provider!r}, threads={self.threads})"


def _find_file(model: str | Path) -> Path:
    """The ONNX file that `model` names, or that is shipped under that name."""
    path = Path(model)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        raise ValueError(f"{model} is a checkpoint; run: extd export {model} model.onnx")
    if suffix in {".pth", ".pt"}:
        raise ValueError(
            f"{model} is a PyTorch checkpoint; run: extd convert {model} model.safetensors, "
            "then: extd export model.safetensors model.onnx"
        )
    if suffix == ".onnx":
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {model}")
        return path
    if len(path.parts) != 1 or suffix:
        raise ValueError(f"{model} is neither a model's name nor an .onnx file")
    return find_weights(str(model), load_catalog())


def _check_providers(providers: Sequence[str]) -> list[str]:
    """The providers, or the only one, all of which the installed ONNX Runtime has."""
    providers = [providers] if isinstance(providers, str) else list(providers)
    available = ort.get_available_providers()
    missing = [provider for provider in providers if provider not in available]
    if missing or not providers:
        raise ValueError(f"providers {missing} are not installed; choose from {available}")
    return providers
