"""A training run as one value; `recipefile` reads and writes it as YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from extd.models.config import ExtdConfig, LiteConfig, NetworkConfig, parse_name
from extd.training.limits import limits


@dataclass(frozen=True, slots=True)
class DataSet:
    """One collection of labelled pictures.

    Attributes:
        path: what `extd data check` reads: a `labels.jsonl`, WIDER FACE's folder, COCO's JSON and
            so on. A relative path is relative to the recipe's folder.
        weight: how often one of its pictures is drawn, relative to the other sets.
        sources: the same within the set, by the source of each picture; a source that is not
            named is left out. Empty: all pictures alike.
    """

    path: str
    weight: float = 1.0
    sources: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """Which pictures to learn from.

    Attributes:
        sets: one or more, mixed by their weights.
        max_unreadable: share of the pictures that may fail to open before the run stops.
    """

    sets: tuple[DataSet, ...]
    max_unreadable: float = 0.01


@dataclass(frozen=True, slots=True)
class Validation:
    """Which pictures to measure the averaged weights on while training.

    Attributes:
        path: labelled pictures, as for `DataSet`; empty for none.
        every: iterations between measurements.
    """

    path: str = ""
    every: int = 1000


@dataclass(frozen=True, slots=True)
class Augmentation:
    """S3FD's augmentation, at any crop size.

    Attributes:
        crops: sides of the square crops, px. Multiples of 128 give whole cells at every level.
        crop_order: `random`: each step takes one of the sides by chance; `growing`: the run is
            divided into as many equal parts, which take one side after the other.
        anchor_sampling: probability of data-anchor-sampling; crops of none of the four kinds are
            random squares with a face inside the picture.
        size_sampling: probability that a random face is brought to a size drawn evenly from the
            logarithms of `face_sizes`, as far as `most_enlarged` lets it.
        zoom_out: probability that the crop shows the whole picture, with up to as much again
            around it.
        unscaled: probability that the crop is cut anywhere and not scaled, as a detector will see
            the picture, with faces or without.
        face_sizes: the least size aimed at, crop px, and the largest, as a share of the crop.
        most_enlarged: size sampling enlarges no picture by more than this factor; a small one
            leaves most faces smaller than aimed at.
        square: range of the random square's side, as shares of the picture's short side.
        whole: probability that a random square is the whole short side.
        color: distort brightness, contrast, saturation and hue, each with probability 0.5.
        horizontal_flip: probability of mirroring.
        vertical_flip: probability of turning upside down. The paper lists it; off by default,
            because upside-down faces are rare in use and cost accuracy on upright ones.
        min_face: faces whose shorter side is below this, in crop px, are ignored in the loss.
    """

    crops: tuple[int, ...] = (640,)
    crop_order: Literal["random", "growing"] = "random"
    anchor_sampling: float = 0.5
    size_sampling: float = 0.0
    zoom_out: float = 0.0
    unscaled: float = 0.0
    face_sizes: tuple[float, float] = (10.0, 0.8)
    most_enlarged: float = 2.0
    square: tuple[float, float] = (0.3, 1.0)
    whole: float = 0.2
    color: bool = True
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    min_face: float = 6.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Matching and loss (section 3.4, equation 3). The defaults are the paper's.

    Attributes:
        assignment: which anchors are positive: `s3fd`, the paper's; `atss`, above the mean plus
            standard deviation of the candidates' IoU (arXiv 1912.02424); `simota`, those that
            predict a face best at the moment (YOLOX, arXiv 2107.08430).
        match_iou: `s3fd`: anchors of at least this IoU with a face are positive. DSFD's improved
            anchor matching is 0.4 (arXiv 1810.10220, section 3.4).
        compensate_iou: `s3fd`: a face with few anchors also takes its best ones above this IoU.
        compensation: `s3fd`: `face` brings each poor face to the mean count; `pooled` takes the
            best anchors of all faces together, as the authors' code does.
        classification: `cross_entropy` with mined negatives; `focal` over all anchors (arXiv
            1708.02002); `quality_focal`, whose target is the predicted box's IoU (arXiv
            2006.04388).
        centre: `simota`: how far from the centre of a face its anchors may lie, in their sides;
            YOLOX's 2.5 cells where anchors are four cells wide.
        size_ratio: `simota`: how many times larger or smaller than a face its anchors may be, from
            1.5; faces beyond the smallest and largest anchor count as these. 0 lets any, and fine
            levels may then take all faces.
        negatives: `cross_entropy`: kept negatives for each positive, the hardest of each picture.
        regression: `smooth_l1` on the coded offsets, or `giou`, `diou`, `eiou` on the boxes (arXiv
            1902.09630, 1911.08287, 2101.08158).
        box_weight: the weight of the box loss (the paper's lambda).
        landmark_weight: the weight of the landmark loss, where network and labels have any.
        normalizer: `paper` divides the class loss by positives and kept negatives; `released`
            by positives alone, as the authors' code does.
        progressive: weight of DSFD's progressive anchor loss: a second head, thrown away after
            training, reads the maps before the neck with anchors of half the size; 0 for none.
    """

    assignment: Literal["s3fd", "atss", "simota"] = "s3fd"
    match_iou: float = 0.35
    compensate_iou: float = 0.1
    compensation: Literal["face", "pooled"] = "face"
    classification: Literal["cross_entropy", "focal", "quality_focal"] = "cross_entropy"
    centre: float = 0.625
    size_ratio: float = 0.0
    negatives: int = 3
    regression: Literal["smooth_l1", "giou", "diou", "eiou"] = "smooth_l1"
    box_weight: float = 4.0
    landmark_weight: float = 1.0
    normalizer: Literal["paper", "released"] = "paper"
    progressive: float = 0.0


@dataclass(frozen=True, slots=True)
class Distillation:
    """Learning from a teacher beside the labels (Hinton et al., arXiv 1503.02531).

    Attributes:
        teacher: weights (`.safetensors`) of a network with the same anchors, whose raw outputs
            are imitated; or an ONNX detector, or the name of a model whose weights ship, of which
            boxes and scores are. Empty for none. A relative path is relative to the recipe's
            folder.
        temperature: softens the class scores of both before they are compared.
        class_weight: weight of the class term.
        box_weight: weight of the box term, over anchors in which the teacher sees a face.
        feature_weight: weight of imitating the maps that the teacher's heads read, through a 1x1
            convolution; 0 for none.
        threshold: teacher's scores from which an anchor or a box counts as a face.
    """

    teacher: str = ""
    temperature: float = 2.0
    class_weight: float = 1.0
    box_weight: float = 1.0
    feature_weight: float = 0.0
    threshold: float = 0.3


@dataclass(frozen=True, slots=True)
class Optimizer:
    """How weights move.

    Attributes:
        kind: `sgd` (the paper), `adamw`, or `muon`: Muon for the kernels between features and
            AdamW for all else (arXiv 2502.16982).
        rate: peak learning rate.
        momentum: of SGD and Muon.
        weight_decay: L2 for SGD, decoupled for AdamW; biases, norms and slopes have none in AdamW.
        schedule: `step` divides the rate by 10 at each milestone, `cosine` takes it to zero, `wsd`
            keeps it and takes it to zero over the last share `decay` of the run, so that a run can
            be made longer at any time before.
        decay: share of the run.
        milestones: iterations at which `step` divides.
        warmup: iterations of linear warm-up.
        clip: largest norm of the gradient; 0 for none.
    """

    kind: Literal["sgd", "adamw", "muon"] = "sgd"
    rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["step", "cosine", "wsd"] = "step"
    decay: float = 0.2
    milestones: tuple[int, ...] = ()
    warmup: int = 0
    clip: float = 0.0


@dataclass(frozen=True, slots=True)
class Compute:
    """How the arithmetic is done; it decides speed, and results only to rounding.

    Except that SimOTA divides the loss of each part of a batch by the positives of that part.

    Attributes:
        precision: `auto` times fp32 and bf16 autocast at the start and takes the faster; `fp16`
            scales the loss and needs CUDA.
        compile: use torch.compile; it pays on long runs.
        channels_last: keep maps as rows of pixels of all channels, which CPUs and tensor cores
            prefer.
        accumulate: parts that a batch is computed in, one after the other, to save memory.
        sync_norms: with several processes on CUDA, batch norms see the whole batch.
        feed: `cpu` cuts crops with OpenCV in a thread; `device` keeps all pictures in the memory
            of the device and cuts there; `auto` does so on CUDA.
    """

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    channels_last: bool = True
    accumulate: int = 1
    sync_norms: bool = False
    feed: Literal["auto", "cpu", "device"] = "auto"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights of a run.

    Attributes:
        model: a model name.
        init: weights to begin with: a `.safetensors` file of that network, or the name of a model
            whose weights ship; empty for random ones. A relative path is relative to the recipe's
            folder.
        network: another configuration than that model's; in a file, the fields that differ.
        iterations: optimiser steps.
        batch: crops a step, over all processes.
        seed: of the initial weights and of every crop.
        ema: decay of the moving average of the weights that is exported; 0 for none.
        freeze_norms: the first step, counted from 1, in which batch norms use their running
            statistics, as they do after training; 0 for never. The passes through F share one
            set of statistics but differ in a training batch, and this makes training see what
            detection will do.
        save_every: iterations between checkpoints.
    """

    model: str
    data: Data
    iterations: int
    network: ExtdConfig | LiteConfig | None = None
    init: str = ""
    batch: int = 16
    seed: int = 0
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    distillation: Distillation = Distillation()
    optimizer: Optimizer = Optimizer()
    ema: float = 0.0
    freeze_norms: int = 0
    validation: Validation = Validation()
    compute: Compute = Compute()
    save_every: int = 1000

    @property
    def config(self) -> NetworkConfig:
        """The network to train."""
        return self.network or parse_name(self.model)

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: a value is out of range; the message names it.
        """
        parse_name(self.model)
        for kept, name, value, wanted in limits(self):
            if not kept:
                raise ValueError(f"{name} is {value}; give {wanted}")
