"""The paper's baselines: S3FD (arXiv 1708.05237), and S3FD with MobileFaceNet's layers (S3FD+M).

Anchors, heads, matching and loss are those that EXTD takes from S3FD. Shapes are B x C x H x W; a
map written "H/4" has ceil(H / 4) rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extd.models.config import MEAN, S3fdConfig
from extd.models.extd import Predictions, build_heads, initialize

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions between VGG-16's poolings (arXiv 1409.1556, table 1, D)."""
NORM_SCALES = ((256, 10.0), (512, 8.0), (512, 5.0))
"""Channels of the first three maps, and initial length of their vectors (S3FD, section 3.1)."""
MOBILEFACENET = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, channels, repetitions and stride (arXiv 1804.07573, table 1)."""


class L2Norm(nn.Module):
    """Feature vectors brought to a learned length, channel by channel (arXiv 1506.04579)."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W to the same."""
        return F.normalize(x, eps=1e-10) * self.weight.view(1, -1, 1, 1)


class Vgg(nn.Module):
    """VGG-16 with its first two dense layers as convolutions, and S3FD's extra layers."""

    channels = (256, 512, 512, 1024, 512, 256)
    """Of the maps that the heads read, finest first."""

    def __init__(self) -> None:
        super().__init__()
        stages, c_in = [], 3
        for widths in VGG16:
            layers: list[nn.Module] = []
            for width in widths:
                layers += [nn.Conv2d(c_in, width, 3, 1, 1), nn.ReLU()]
                c_in = width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.dense = nn.Sequential(
            nn.Conv2d(512, 1024, 3, 1, 6, dilation=6),
            nn.ReLU(),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(),
        )
        self.extras = nn.ModuleList([_extra(1024, 256, 512), _extra(512, 128, 256)])
        self.norms = nn.ModuleList(L2Norm(channels, scale) for channels, scale in NORM_SCALES)

    def forward(self, x: Tensor) -> list[Tensor]:
        """B x 3 x H x W to six maps, H/4 .. H/128."""
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index >= 2:
                maps.append(self.norms[index - 2](x))
            x = F.max_pool2d(x, 2, ceil_mode=True)
        maps.append(self.dense(x))
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps


class MobileFaceNet(nn.Module):
    """MobileFaceNet up to its last feature map, and three extra layers.

    The paper does not tell which maps S3FD+M reads; here, the last of each stride.
    """

    channels = (64, 128, 512, 512, 256, 256)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_unit(3, 64, 3, 2), *_unit(64, 64, 3, 1, groups=64))
        stages, c_in = [], 64
        for expansion, channels, repetitions, stride in MOBILEFACENET:
            blocks = []
            for index in range(repetitions):
                blocks.append(Bottleneck(c_in, channels, expansion, stride if index == 0 else 1))
                c_in = channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.last = nn.Sequential(*_unit(128, 512, 1, 1))
        self.extras = nn.ModuleList(
            [_extra(512, 256, 512), _extra(512, 128, 256), _extra(256, 128, 256)]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """B x 3 x H x W to six maps, H/4 .. H/128."""
        first, down, eighth, further, sixteenth = self.stages
        quarter = first(self.stem(x))
        half = eighth(down(quarter))
        maps = [quarter, half, self.last(sixteenth(further(half)))]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps


class Bottleneck(nn.Module):
    """MobileNetV2's inverted residual with PReLU."""

    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        self.layers = nn.Sequential(
            *_unit(c_in, hidden, 1, 1),
            *_unit(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.has_skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """B x C_in x H x W to B x C_out x H/stride x W/stride."""
        out: Tensor = self.layers(x)
        return x + out if self.has_skip else out


def _unit(c_in: int, c_out: int, size: int, stride: int, groups: int = 1) -> list[nn.Module]:
    """Convolution, batch norm, a PReLU with one slope a channel."""
    return [
        nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
        nn.PReLU(c_out),
    ]


def _extra(c_in: int, hidden: int, c_out: int) -> nn.Sequential:
    """A level of half the resolution."""
    return nn.Sequential(
        nn.Conv2d(c_in, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, c_out, 3, 2, 1), nn.ReLU()
    )


class S3fd(nn.Module):
    """The whole detector; it has the parts of `extd.models.extd.Extd` under the same names."""

    mean: Tensor

    def __init__(self, config: S3fdConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.backbone = Vgg() if config.backbone == "vgg16" else MobileFaceNet()
        initialize(self)
        self.heads = build_heads(self.backbone.channels)

    def features(self, images: Tensor) -> list[Tensor]:
        """The maps that the heads read, finest first; `images` as in `forward`."""
        maps: list[Tensor] = self.backbone(images - self.mean)
        return maps

    def forward(self, images: Tensor) -> Predictions:
        """Detect in B x 3 x H x W, RGB of 0 to 255 in float."""
        predictions: Predictions = self.heads(self.features(images))
        return predictions
