"""The network of "EXTD: Extremely Tiny Face Detector via Iterative Filter Reuse".

Section numbers are those of arXiv 1906.06579. Shapes are B x C x H x W; a map written "H/4"
has ceil(H / 4) rows, so any input size works.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extd.models.config import MEAN, Activation, ExtdConfig, NetworkConfig, Upsampling

LEAKY_SLOPE = 0.25
OFFSET_GAIN = 5.0
FACE_PRIOR = 0.01
"""Probability that a fresh net gives each anchor of being a face."""


class Predictions(NamedTuple):
    """Raw outputs for the A anchors of all levels, finest level first, row by row.

    Attributes:
        regression: B x A x 4, offsets to the anchors (dx, dy, dw, dh), scaled by the variances.
        logits: B x A x 2, background and face; or B x A x 1, log odds of a face.
        landmarks: B x A x 10, offsets of five points (x, y) from the anchor's center, scaled as
            those of the box; None for networks without.
    """

    regression: Tensor
    logits: Tensor
    landmarks: Tensor | None = None

    @property
    def log_odds(self) -> Tensor:
        """B x A, whose logistic function is the probability of a face."""
        # Over two classes softmax is the logistic function of the difference.
        face = self.logits[..., -1]
        return face - self.logits[..., 0] if self.logits.shape[-1] == 2 else face


def activation_layer(activation: Activation) -> nn.Module:
    """A fresh activation; PReLU has one slope a layer (section 3.2)."""
    if activation == "prelu":
        return nn.PReLU()
    if activation == "leakyrelu":
        return nn.LeakyReLU(LEAKY_SLOPE)
    return nn.ReLU()


class PassNorm(nn.Module):
    """Batch norm inside F: one for all passes (the paper) or one a pass."""

    def __init__(self, channels: int, passes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(passes))

    def forward(self, x: Tensor, index: int) -> Tensor:
        """Normalise B x C x H x W with the statistics of pass `index`."""
        normalised: Tensor = self.norms[index if len(self.norms) > 1 else 0](x)
        return normalised


def run_layers(layers: nn.ModuleList, x: Tensor, index: int) -> Tensor:
    """B x C x H x W through `layers`, the norms among them in pass `index`."""
    for layer in layers:
        x = layer(x, index) if isinstance(layer, PassNorm) else layer(x)
    return x


class InvertedResidual(nn.Module):
    """Figure 3: point-wise expansion, depthwise 3x3, point-wise projection, and a skip.

    Expansion 1 leaves the first convolution out. The skip exists where input and output have
    the same shape.
    """

    def __init__(
        self, config: ExtdConfig, c_in: int, c_out: int, expansion: int, stride: int, passes: int
    ) -> None:
        super().__init__()
        hidden = c_in * expansion
        self.expand: nn.ModuleList | None = None
        if expansion > 1:
            self.expand = nn.ModuleList(
                [
                    nn.Conv2d(c_in, hidden, 1, bias=False),
                    PassNorm(hidden, passes),
                    activation_layer(config.activation),
                ]
            )
        self.depthwise = nn.ModuleList(
            [
                nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden),
                PassNorm(hidden, passes),
                activation_layer(config.activation),
            ]
        )
        self.project = nn.ModuleList(
            [nn.Conv2d(hidden, c_out, 1, bias=False), PassNorm(c_out, passes)]
        )
        if config.activated_projection:
            self.project.append(activation_layer(config.activation))
        self.has_skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor, index: int) -> Tensor:
        """B x C_in x H x W to B x C_out x H/stride x W/stride, in pass `index`."""
        out = x
        for stage in (self.expand, self.depthwise, self.project):
            if stage is not None:
                out = run_layers(stage, out, index)
        return x + out if self.has_skip else out


class ConvBlock(nn.Module):
    """EXTD-Lite's block: a 3x3 convolution, norm, activation, and a skip.

    It has more weights than an inverted residual of its width, but its arithmetic is dense, of
    which a CPU does several times more in a second. The skip exists as there.
    """

    def __init__(self, config: ExtdConfig, c_in: int, c_out: int, stride: int, passes: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [
                nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False),
                PassNorm(c_out, passes),
                activation_layer(config.activation),
            ]
        )
        self.has_skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor, index: int) -> Tensor:
        """B x C_in x H x W to B x C_out x H/stride x W/stride, in pass `index`."""
        out = run_layers(self.conv, x, index)
        return x + out if self.has_skip else out


def feature_block(
    config: ExtdConfig, c_in: int, expansion: int, stride: int, passes: int
) -> InvertedResidual | ConvBlock:
    """A block from `c_in` channels to the configured width."""
    if config.block == "conv":
        return ConvBlock(config, c_in, config.width, stride, passes)
    return InvertedResidual(config, c_in, config.width, expansion, stride, passes)


class Backbone(nn.Module):
    """The stem E and the repeated block F (sections 3.1 and 3.2, equation 1).

    f_0 = E(x), f_i = F(f_{i-1}) for i = 1..6, with the same weights in every pass. EXTD-Lite has
    its stride in the first block of F, and five passes from a stem of stride 4.
    """

    def __init__(self, config: ExtdConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise((3, *config.stem)):
            layers += [
                nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False),
                nn.BatchNorm2d(c_out),
                activation_layer(config.activation),
            ]
        self.stem = nn.Sequential(*layers)
        channels = config.stem[-1] if config.stem else 3
        self.stem_block = feature_block(config, channels, 1, config.stem_stride, passes=1)
        passes = len(config.strides) if config.norm_per_pass else 1
        strided = 0 if config.stride_first else len(config.block_expansions) - 1
        self.blocks = nn.ModuleList(
            feature_block(config, config.width, expansion, 2 if i == strided else 1, passes)
            for i, expansion in enumerate(config.block_expansions)
        )
        self.depths = config.pass_depths

    def forward(self, x: Tensor) -> list[Tensor]:
        """B x 3 x H x W to a map B x C x H/stride x W/stride a pass, finest first."""
        out = self.stem_block(self.stem(x), 0)
        maps = []
        for index, depth in enumerate(self.depths):
            for block in self.blocks[:depth]:
                out = block(out, index)
            maps.append(out)
        return maps


class UpsamplingBlock(nn.Module):
    """Bilinear upsampling, separable 3x3 convolution, batch norm, ReLU (section 3.3)."""

    def __init__(self, width: int, upsampling: Upsampling) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.depthwise = nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(width)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Bring `coarse` to the size of `skip` (B x C x H x W), at most twice it; add the two."""
        height, width = skip.shape[-2:]
        if self.upsampling == "fit":
            resized = F.interpolate(coarse, size=(height, width), mode="bilinear")
        else:
            resized = F.interpolate(coarse, scale_factor=2, mode="bilinear")[..., :height, :width]
        refined = F.relu(self.norm(self.pointwise(self.depthwise(resized))))
        return refined + skip


class Heads(nn.Module):
    """One 3x3 convolution a level for boxes and one for classes (section 3.3).

    The finest level has three background channels of which the largest counts: S3FD's max-out
    background label against its many false positives.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.regression = nn.ModuleList(nn.Conv2d(width, 4, 3, 1, 1) for width in channels)
        self.classification = nn.ModuleList(
            nn.Conv2d(width, 4 if level == 0 else 2, 3, 1, 1)
            for level, width in enumerate(channels)
        )

    def forward(self, maps: list[Tensor]) -> Predictions:
        """The maps to the predictions of their A = sum(H_i · W_i) anchors."""
        regression, logits = [], []
        for x, regress, classify in zip(maps, self.regression, self.classification, strict=True):
            scores = classify(x)
            if scores.shape[1] == 4:
                background = scores[:, :3].amax(1, keepdim=True)
                scores = torch.cat([background, scores[:, 3:]], 1)
            regression.append(regress(x).flatten(2).transpose(1, 2))
            logits.append(scores.flatten(2).transpose(1, 2))
        return Predictions(torch.cat(regression, 1), torch.cat(logits, 1))


class JointHeads(nn.Module):
    """EXTD-Lite's heads: a 3x3 convolution for the box and the log odds of a face.

    Each level has its own, or all share one.

    Offsets are scaled such that one unit moves a box by half its anchor, or grows it e-fold: losses
    of decoded boxes then learn as fast as that of the scores.
    """

    def __init__(self, channels: Sequence[int], *, shared: bool = False) -> None:
        super().__init__()
        own = channels[:1] if shared else channels
        self.levels = nn.ModuleList(nn.Conv2d(width, 5, 3, 1, 1) for width in own)

    def forward(self, maps: list[Tensor]) -> Predictions:
        """As of `Heads`."""
        levels = list(self.levels) * (len(maps) if len(self.levels) == 1 else 1)
        outputs = [level(x).flatten(2) for level, x in zip(levels, maps, strict=True)]
        whole = torch.cat(outputs, 2).transpose(1, 2)
        return Predictions(whole[..., :4] * OFFSET_GAIN, whole[..., 4:])


def initialize(network: nn.Module) -> None:
    """He initialisation (Appendix A); heads begin otherwise (`build_heads`)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def build_heads(config: NetworkConfig) -> Heads | JointHeads:
    """Fresh heads, which begin with few faces."""
    heads: Heads | JointHeads
    if isinstance(config, ExtdConfig) and config.head == "joint":
        heads = JointHeads(config.channels, shared=config.shared_head)
    else:
        heads = Heads(config.channels)
    for layer in heads.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            # The heads are linear: a gain of one keeps a fresh net's outputs small.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
    faces = heads.classification if isinstance(heads, Heads) else heads.levels
    for layer in faces:
        assert isinstance(layer, nn.Conv2d)
        if isinstance(heads, JointHeads):
            nn.init.normal_(layer.weight, std=0.01)
        assert layer.bias is not None
        nn.init.constant_(layer.bias[-1:], -math.log((1 - FACE_PRIOR) / FACE_PRIOR))
    return heads


class Extd(nn.Module):
    """The whole detector: backbone, optional feature pyramid, heads (figure 2)."""

    mean: Tensor

    def __init__(self, config: ExtdConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.backbone = Backbone(config)
        upsamplings = len(config.strides) - 1 if config.neck == "fpn" else 0
        self.upsampling = nn.ModuleList(
            UpsamplingBlock(config.width, config.upsampling) for _ in range(upsamplings)
        )
        levels = len(config.strides) if config.norm_per_pass else 1
        self.tower = nn.ModuleList(
            ConvBlock(config, config.width, config.width, 1, levels) for _ in range(config.tower)
        )
        initialize(self)
        self.heads = build_heads(config)

    def features(self, images: Tensor) -> list[Tensor]:
        """The maps that the heads read, finest first; `images` as in `forward`."""
        return self.pyramid(self.backbone(images - self.mean))

    def pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        """The backbone's maps through the neck: as they are (SSD), or upsampled and added (FPN)."""
        pyramid = [maps[-1]] if self.upsampling else maps
        for block, skip in zip(self.upsampling, reversed(maps[:-1]), strict=False):
            pyramid.insert(0, block(pyramid[0], skip))
        for block in self.tower:
            pyramid = [block(x, level) for level, x in enumerate(pyramid)]
        return pyramid

    def forward(self, images: Tensor) -> Predictions:
        """Detect in B x 3 x H x W, RGB of 0 to 255 in float."""
        predictions: Predictions = self.heads(self.features(images))
        return predictions
