"""A trained detector that teaches another, and what it says of a batch of crops."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from extd.detector import Detector, Options
from extd.models.anchors import corners, encode
from extd.models.checkpoint import load_network
from extd.models.config import NetworkConfig
from extd.models.network import TorchNetwork
from extd.training.matching import match
from extd.training.recipe import Loss

SCORE_MARGIN = 1e-3
"""A detector's scores are kept this far from 0 and 1, whose log odds are infinite."""
SILENCE = 0.25
"""Weight of an anchor for which a detector gave no box: suppression may have removed one."""
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True)
class NetworkTeacher:
    """A network of the family, which has the student's anchors whatever its width and neck.

    Attributes:
        network: frozen, in evaluation mode. No module holds it, so training leaves its mode alone.
    """

    network: TorchNetwork


@dataclass(frozen=True, slots=True)
class DetectorTeacher:
    """A detector with any anchors, of which only boxes and scores are seen.

    Attributes:
        detector: as everyone runs it.
    """

    detector: Detector


Teacher = NetworkTeacher | DetectorTeacher


class SoftTargets(NamedTuple):
    """What a teacher says of B crops, on the student's A anchors. It carries no gradient.

    Attributes:
        log_odds: B x A float32, of face against background.
        face: B x A float32, the face probability of anchors in which the teacher sees a face;
            0 elsewhere.
        regression: B x A x 4 float32, coded offsets of the boxes; they mean something where `face`
            is above 0.
        trust: B x A float32, 1 where the teacher scored this anchor, less where it was silent.
        maps: what its heads read, finest first, B x C x H x W; empty for a detector.
    """

    log_odds: Tensor
    face: Tensor
    regression: Tensor
    trust: Tensor
    maps: list[Tensor]


def load_teacher(
    model: str | Path, student: NetworkConfig, device: torch.device, *, threads: int = 0
) -> Teacher:
    """The teacher that `model` names.

    Args:
        model: weights (`.safetensors`) of a network of the family, whose raw outputs and maps are
            imitated; an `.onnx` detector or the name of a model whose weights ship, whose boxes
            and scores are.
        student: who is taught.
        device: where the student trains. A detector runs there if ONNX Runtime can, with a
            warning if it cannot.
        threads: of ONNX Runtime; 0 is one for each core.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such network or detector, or the name has no weights; the
            message names it and the fix.
    """
    suffix = Path(model).suffix.lower()
    if suffix in {".safetensors", ".pth", ".pt"}:
        try:
            network, _ = load_network(Path(model))
        except ValueError as error:
            raise ValueError(f"teacher: {error}") from error
        if network.config.anchor_sizes != student.anchor_sizes:
            raise ValueError(
                f"teacher: {model} has other anchors than {student.name}; "
                f"run: extd export {model} teacher.onnx, and give that file"
            )
        return NetworkTeacher(network.to(device).eval().requires_grad_(False))
    providers = None
    if device.type == "cuda":
        if CUDA in ort.get_available_providers():
            providers = [CUDA, "CPUExecutionProvider"]
        else:
            warnings.warn(
                f"the teacher {model} runs on the CPU; install onnxruntime-gpu, or give its "
                ".safetensors weights",
                stacklevel=2,
            )
    try:
        return DetectorTeacher(Detector(model, threads=threads, providers=providers))
    except ValueError as error:
        raise ValueError(f"teacher: {error}") from error


@torch.no_grad()
def soft_targets(
    teacher: Teacher, images: Tensor, anchors: Tensor, threshold: float
) -> SoftTargets:
    """Ask the teacher about a batch.

    Args:
        teacher: of either kind.
        images: B x 3 x S x S float, RGB of 0 to 255.
        anchors: A x 4 (cx, cy, w, h) px, the student's.
        threshold: score from which the teacher sees a face, 0 to below 1.
    """
    if isinstance(teacher, NetworkTeacher):
        return _raw_outputs(teacher.network, images, threshold)
    return matched_boxes(*detected_faces(teacher.detector, images, threshold), anchors)


def _raw_outputs(network: TorchNetwork, images: Tensor, threshold: float) -> SoftTargets:
    """What a network with the student's anchors says of each of them."""
    maps = network.features(images)
    predictions = network.heads(maps)
    log_odds = predictions.log_odds.float()
    scores = log_odds.sigmoid()
    return SoftTargets(
        log_odds,
        scores * (scores >= threshold),
        predictions.regression.float(),
        torch.ones_like(scores),
        maps,
    )


def detected_faces(
    detector: Detector, images: Tensor, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What a detector finds in a batch of crops.

    Args:
        detector: of any anchors.
        images: B x 3 x S x S float, RGB of 0 to 255.
        threshold: lowest score.

    Returns:
        Boxes B x K x 4 xyxy px, not clipped; scores B x K; which of them are real, B x K bool.
        The rest is padding; K is at least 1.
    """
    # Labelled boxes reach over the border of a crop, too.
    options = Options(threshold=threshold, clip=False)
    pixels = images.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    found = [detector.detect(image, options) for image in pixels]
    most = max(1, *(len(faces) for faces in found))
    boxes = np.zeros((len(found), most, 4), np.float32)
    scores = np.zeros((len(found), most), np.float32)
    for index, faces in enumerate(found):
        boxes[index, : len(faces)] = faces.boxes
        scores[index, : len(faces)] = faces.scores
    real = np.arange(most) < np.array([len(faces) for faces in found])[:, None]
    device = images.device
    return (
        torch.from_numpy(boxes).to(device),
        torch.from_numpy(scores).to(device),
        torch.from_numpy(real).to(device),
    )


def matched_boxes(boxes: Tensor, scores: Tensor, real: Tensor, anchors: Tensor) -> SoftTargets:
    """A detector's boxes on the student's anchors, by S3FD's matching (section 3.4).

    A matched anchor gets the score and the box of its face. The others get a score next to 0,
    with little weight.

    Args:
        boxes: B x K x 4 xyxy px.
        scores: B x K.
        real: B x K bool, False for padding.
        anchors: A x 4 (cx, cy, w, h) px.
    """
    index = match(anchors, boxes, real, Loss())
    matched = index >= 0
    index = index.clamp(min=0)
    face = scores.gather(1, index) * matched
    chosen = boxes.gather(1, index[..., None].expand(-1, -1, 4))
    # The logarithm of an empty side is infinite.
    chosen = torch.cat([chosen[..., :2], torch.maximum(chosen[..., 2:], chosen[..., :2] + 1)], -1)
    chosen = torch.where(matched[..., None], chosen, corners(anchors))
    return SoftTargets(
        torch.logit(face, SCORE_MARGIN),
        face,
        encode(chosen, anchors),
        torch.where(matched, 1.0, SILENCE),
        [],
    )
