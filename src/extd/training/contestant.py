"""A torch module among the detectors that `extd.measure.bench` times, on the CPU or a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from extd.faces import Faces
from extd.images import Image
from extd.measure.contestants import best_boxes, best_faces, rgb_planes
from extd.measure.protocols import SINGLE
from extd.models.checkpoint import load_network
from extd.models.export import DecodedExtd, by_votes


@dataclass(frozen=True, slots=True)
class TorchContestant:
    """A module in eager PyTorch.

    Attributes:
        name: what tables and pictures call it.
        path: the checkpoint that it was loaded from.
        module: in evaluation mode on `device`; float32 [1, 3, H, W] RGB of 0 to 255 to boxes
            [1, A, 4], x1, y1, x2, y2 in pixels, and scores [1, A].
        device: what computes.
        threshold: faces have scores above it.
        votes: whether boxes that overlap are averaged.
    """

    name: str
    path: Path
    module: nn.Module
    device: torch.device
    threshold: float
    votes: bool

    @property
    def note(self) -> str:
        """Its NMS threshold, whether boxes vote, and what runs it."""
        votes = ", box voting" if self.votes else ""
        return f"NMS {SINGLE.nms_iou:g}{votes}, PyTorch on {self.device}"

    def prepare(self, bgr: Image) -> Tensor:
        """The input for one picture on the device, float32 [1, 3, H, W]."""
        inputs = torch.from_numpy(rgb_planes(bgr)).to(self.device)
        self._wait()
        return inputs

    def infer(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores of a batch of inputs, once they are computed."""
        with torch.inference_mode():
            boxes, scores = self.module(inputs)
        self._wait()
        return boxes, scores

    def finish(self, outputs: tuple[Tensor, Tensor], bgr: Image) -> Faces:
        """The faces in the outputs for the picture `bgr`."""
        height, width = bgr.shape[:2]
        boxes, scores = (np.asarray(output[0].float().cpu(), np.float32) for output in outputs)
        found = best_boxes(boxes, scores, self.threshold, SINGLE.nms_iou, votes=self.votes)
        return best_faces(*found, width, height)

    def detect(self, bgr: Image) -> Faces:
        """The faces of a picture, uint8 [H, W, 3] BGR, best first."""
        return self.finish(self.infer(self.prepare(bgr)), bgr)

    def _wait(self) -> None:
        """A GPU computes on its own; the clock must not stop before it is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def load_torch_contestant(
    path: Path, device: str = "cpu", threads: int = 1, threshold: float = 0.5
) -> TorchContestant:
    """A checkpoint of `extd train` or `extd convert` in eager PyTorch, as it was trained.

    Args:
        path: the safetensors file.
        device: as `cpu`, `cuda` or `cuda:1`.
        threads: of all torch in this process; 0 is one for each core.
        threshold: faces have scores above it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint, or the device cannot be used.
    """
    network, _ = load_network(path)
    if threads:
        torch.set_num_threads(threads)
    try:
        module = DecodedExtd(network).eval().to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {error}") from error
    name, votes = f"{path.stem} (torch)", by_votes(network.config)
    return TorchContestant(name, path, module, torch.device(device), threshold, votes)
