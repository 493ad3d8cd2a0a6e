"""EXTD-Lite: the paper's one F used again at every scale, made of what int8 does fast on CPUs.

Dense 3x3 convolutions whose widths are multiples of 16, ReLU, one head for all levels. Shapes are
B x C x H x W; a map written "H/8" has ceil(H / 8) rows, so any input size works.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extd.models.config import LiteConfig
from extd.models.extd import FACE_PRIOR, PassNorm, Predictions, initialize

GRAY = 128.0
"""Subtracted from images of 0 to 255: the zero point of uint8, so that int8 needs no arithmetic."""
CONTRAST = 64.0
"""Divides them then, to a variance of about one."""
OFFSET_GAIN = 5.0
"""Multiplies the head's offsets, so that boxes are learned as fast as scores.

One unit moves a box by half its anchor, or grows it e-fold.
"""
LANDMARKS = 5
"""Eyes, nose, corners of the mouth; image-left first."""


class ConvBlock(nn.Module):
    """A 3x3 convolution, a batch norm for each pass, a skip where shapes allow it, and ReLU."""

    def __init__(self, c_in: int, c_out: int, *, stride: int = 1, passes: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm = PassNorm(c_out, passes)
        self.has_skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor, index: int = 0) -> Tensor:
        """B x C_in x H x W to B x C_out x H/stride x W/stride, in pass `index`."""
        out = self.norm(self.conv(x), index)
        return F.relu(out + x if self.has_skip else out)


class Stem(nn.Module):
    """A 6x6 convolution of stride 4 on the image, and one of stride 2 to the width of F."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        # Convolutions of few channels at half the image's size would cost a fifth of the time.
        self.conv = nn.Conv2d(3, config.stem_width, 6, 4, bias=False)
        self.norm = nn.BatchNorm2d(config.stem_width)
        self.down = ConvBlock(config.stem_width, config.width, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """B x 3 x H x W, 0 to 255, to B x C x H/8 x W/8."""
        # Two px before and three after make ceil(H / 4) rows for every H.
        x = F.pad(images, (2, 3, 2, 3), value=GRAY)
        # Whole numbers up to 256 are exact in bfloat16, and half the memory.
        mixed = x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
        x = x.to(torch.get_autocast_dtype(x.device.type) if mixed else self.conv.weight.dtype)
        x = F.relu(self.norm(self.conv(x.sub_(GRAY).mul_(1 / CONTRAST))))
        out: Tensor = self.down(x)
        return out


class Lateral(nn.Module):
    """The coarser map, through a 1x1 convolution and doubled, added to the finer one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """B x C x H/2 x W/2 and B x C x H x W to B x C x H x W."""
        height, width = fine.shape[-2:]
        doubled = F.interpolate(self.norm(self.conv(coarse)), scale_factor=2, mode="nearest")
        return F.relu(doubled[..., :height, :width] + fine)


class LiteHead(nn.Module):
    """One 1x1 convolution for all levels: the box, the log odds of a face, and the landmarks."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.conv = nn.Conv2d(config.width, 5 + 2 * LANDMARKS, 1)
        assert self.conv.bias is not None
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.zeros_(self.conv.bias)
        nn.init.constant_(self.conv.bias[4], -math.log((1 - FACE_PRIOR) / FACE_PRIOR))

    def forward(self, maps: list[Tensor]) -> Predictions:
        """The maps to the predictions of their A = sum(H_i * W_i) anchors."""
        raw = torch.cat([self.conv(x).flatten(2) for x in maps], 2).transpose(1, 2)
        boxes, log_odds, landmarks = raw[..., :4], raw[..., 4:5], raw[..., 5:]
        return Predictions(boxes * OFFSET_GAIN, log_odds, landmarks * OFFSET_GAIN)


class Lite(nn.Module):
    """The detector: f_0 = E(x), f_i = F(f_{i-1}), neck, tower, head.

    F begins with a convolution of stride 2, which the first pass leaves out: the stem's map has the
    stride of the finest level, 8.
    """

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        width, levels = config.width, len(config.strides)
        self.stem = Stem(config)
        self.down = ConvBlock(width, width, stride=2, passes=levels - 1)
        self.blocks = nn.ModuleList(
            ConvBlock(width, width, passes=levels) for _ in range(config.blocks)
        )
        self.laterals = nn.ModuleList(Lateral(width) for _ in range(levels - 1))
        self.tower = nn.ModuleList(
            ConvBlock(width, width, passes=levels) for _ in range(config.tower)
        )
        initialize(self)
        self.heads = LiteHead(config)

    def features(self, images: Tensor) -> list[Tensor]:
        """The maps that the head reads, finest first; `images` as in `forward`."""
        return self.pyramid(self.stem(images))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The stem's map through every pass of F, the neck and the tower, finest first."""
        maps: list[Tensor] = []
        for index in range(len(self.config.strides)):
            if index > 0:
                x = self.down(x, index - 1)
            for block in self.blocks:
                x = block(x, index)
            maps.append(x)
        pyramid = [maps.pop()]
        for lateral in self.laterals:
            pyramid.insert(0, lateral(pyramid[0], maps.pop()))
        for block in self.tower:
            pyramid = [block(x, level) for level, x in enumerate(pyramid)]
        return pyramid

    def forward(self, images: Tensor) -> Predictions:
        """Detect in B x 3 x H x W, RGB of 0 to 255 in uint8 or float."""
        predictions: Predictions = self.heads(self.features(images))
        return predictions
