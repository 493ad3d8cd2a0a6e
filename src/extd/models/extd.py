"""The network of "EXTD: Extremely Tiny Face Detector via Iterative Filter Reuse".

Section numbers are those of arXiv 1906.06579. Shapes are B x C x H x W; a map written "H/4"
has ceil(H / 4) rows, so any input size works.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extd.models.config import MEAN, STEM_WIDTH, Activation, ExtdConfig, Upsampling

LEAKY_SLOPE = 0.25
FACE_PRIOR = 0.01
"""Probability that a fresh net gives each anchor of being a face."""


class Predictions(NamedTuple):
    """Raw outputs for the A anchors of all levels, finest level first, row by row.

    Attributes:
        regression: B x A x 4, offsets to the anchors (dx, dy, dw, dh), scaled by the variances.
        logits: B x A x 2, background and face; or B x A x 1, log odds of a face.
        landmarks: B x A x 10, five points (x, y) as offsets like the box's center, if any.
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
        """Normalize B x C x H x W with the statistics of pass `index`."""
        normalized: Tensor = self.norms[index if len(self.norms) > 1 else 0](x)
        return normalized


def stage(conv: nn.Conv2d, passes: int, activation: Activation | None) -> nn.ModuleList:
    """A convolution, its norm, and an activation if there is to be one."""
    layers: list[nn.Module] = [conv, PassNorm(conv.out_channels, passes)]
    if activation is not None:
        layers.append(activation_layer(activation))
    return nn.ModuleList(layers)


class InvertedResidual(nn.Module):
    """Figure 3: point-wise expansion, depthwise 3x3, point-wise projection, and a skip.

    Expansion 1 leaves out the first convolution, a change of shape the skip.
    """

    def __init__(
        self, config: ExtdConfig, c_in: int, expansion: int, *, stride: int = 1, passes: int = 1
    ) -> None:
        super().__init__()
        c_out, hidden = config.width, c_in * expansion
        activation = config.activation
        self.expand: nn.ModuleList | None = None
        if expansion > 1:
            self.expand = stage(nn.Conv2d(c_in, hidden, 1, bias=False), passes, activation)
        depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden)
        self.depthwise = stage(depthwise, passes, activation)
        project = nn.Conv2d(hidden, c_out, 1, bias=False)
        self.project = stage(project, passes, activation if config.activated_projection else None)
        self.has_skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor, index: int) -> Tensor:
        """B x C_in x H x W to B x C_out x H/stride x W/stride, in pass `index`."""
        out = x
        for layers in (self.expand, self.depthwise, self.project):
            for layer in layers or ():
                out = layer(out, index) if isinstance(layer, PassNorm) else layer(out)
        return x + out if self.has_skip else out


class Backbone(nn.Module):
    """The stem E and the repeated block F (sections 3.1 and 3.2, equation 1).

    f_0 = E(x), f_i = F(f_{i-1}) for i = 1..6, with the same weights in every pass.
    """

    def __init__(self, config: ExtdConfig) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM_WIDTH, 3, 2, 1, bias=False),
            nn.BatchNorm2d(STEM_WIDTH),
            activation_layer(config.activation),
        )
        self.stem_block = InvertedResidual(config, STEM_WIDTH, expansion=1)
        self.passes = len(config.strides)
        norms = self.passes if config.norm_per_pass else 1
        strides = [1] * (len(config.expansions) - 1) + [2]
        self.blocks = nn.ModuleList(
            InvertedResidual(config, config.width, expansion, stride=stride, passes=norms)
            for expansion, stride in zip(config.expansions, strides, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """B x 3 x H x W to a map B x C x H/stride x W/stride a pass, finest first."""
        x = self.stem_block(self.stem(images), 0)
        maps = []
        for index in range(self.passes):
            for block in self.blocks:
                x = block(x, index)
            maps.append(x)
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
        """The maps to the predictions of their A = sum(H_i * W_i) anchors."""
        regression, logits = [], []
        for x, regress, classify in zip(maps, self.regression, self.classification, strict=True):
            scores = classify(x)
            if scores.shape[1] == 4:
                background = scores[:, :3].amax(1, keepdim=True)
                scores = torch.cat([background, scores[:, 3:]], 1)
            regression.append(regress(x).flatten(2).transpose(1, 2))
            logits.append(scores.flatten(2).transpose(1, 2))
        return Predictions(torch.cat(regression, 1), torch.cat(logits, 1))


def initialize(network: nn.Module) -> None:
    """He initialization (Appendix A); `build_heads` starts heads in another way."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def build_heads(channels: Sequence[int]) -> Heads:
    """Fresh heads, which begin with few faces."""
    heads = Heads(channels)
    face = -math.log((1 - FACE_PRIOR) / FACE_PRIOR)
    for layers, last_bias in ((heads.regression, 0.0), (heads.classification, face)):
        for layer in layers:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            # The heads are linear: a gain of one keeps a fresh net's outputs small.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
            nn.init.constant_(layer.bias[-1:], last_bias)
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
        initialize(self)
        self.heads = build_heads((config.width,) * len(config.strides))

    def features(self, images: Tensor) -> list[Tensor]:
        """The maps that the heads read, finest first; `images` as in `forward`.

        They are the backbone's (SSD), or upsampled and added (FPN).
        """
        maps = self.backbone(images - self.mean)
        pyramid = [maps[-1]] if self.upsampling else maps
        for block, skip in zip(self.upsampling, reversed(maps[:-1]), strict=False):
            pyramid.insert(0, block(pyramid[0], skip))
        return pyramid

    def forward(self, images: Tensor) -> Predictions:
        """Detect in B x 3 x H x W, RGB of 0 to 255 in float."""
        predictions: Predictions = self.heads(self.features(images))
        return predictions
