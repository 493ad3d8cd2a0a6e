"""Anchors of S3FD and the box coder of SSD, in torch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from extd.models.config import VARIANCES, NetworkConfig


class Level(NamedTuple):
    """The anchors of one feature map: squares of `side` px, one in the middle of each cell."""

    stride: int
    rows: int
    columns: int
    side: float


def anchor_levels(config: NetworkConfig, height: int, width: int) -> list[Level]:
    """The levels of an input of `height` x `width` px, finest first."""
    return [
        Level(stride, -(-height // stride), -(-width // stride), side)
        for stride, side in zip(config.strides, config.anchor_sizes, strict=True)
    ]


def anchor_boxes(
    config: NetworkConfig, height: int, width: int, device: torch.device | None = None
) -> Tensor:
    """The anchors of an input of `height` x `width` px (section 3.4), as of `level_boxes`."""
    return level_boxes(anchor_levels(config, height, width), device)


def level_boxes(levels: list[Level], device: torch.device | None = None) -> Tensor:
    """A x 4 float32 (cx, cy, w, h) in px, finest level first, row by row, not clipped."""
    boxes = []
    for stride, rows, columns, size in levels:
        cy = (torch.arange(rows, dtype=torch.float32, device=device) + 0.5) * stride
        cx = (torch.arange(columns, dtype=torch.float32, device=device) + 0.5) * stride
        grid_y, grid_x = torch.meshgrid(cy, cx, indexing="ij")
        side = torch.full_like(grid_x, size)
        boxes.append(torch.stack([grid_x, grid_y, side, side], -1).reshape(-1, 4))
    return torch.cat(boxes)


def corners(boxes: Tensor) -> Tensor:
    """Boxes (... x 4) given as (cx, cy, w, h) as (x1, y1, x2, y2)."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Regression targets (... x 4) of `boxes` (xyxy, px) against `anchors` (cxcywh, px)."""
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    size = boxes[..., 2:] - boxes[..., :2]
    offset = (center - anchors[..., :2]) / (anchors[..., 2:] * VARIANCES[0])
    return torch.cat([offset, torch.log(size / anchors[..., 2:]) / VARIANCES[1]], -1)


def decode(regression: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (... x 4, xyxy, px) of raw `regression` against `anchors` (cxcywh, px)."""
    center = anchors[..., :2] + regression[..., :2] * VARIANCES[0] * anchors[..., 2:]
    size = anchors[..., 2:] * torch.exp(regression[..., 2:] * VARIANCES[1])
    return corners(torch.cat([center, size], -1))


def decode_landmarks(regression: Tensor, anchors: Tensor) -> Tensor:
    """Five points (... x 10, x and y, px) of raw `regression` against `anchors` (cxcywh, px)."""
    scale = anchors[..., 2:] * VARIANCES[0]
    return anchors[..., :2].tile(5) + regression * scale.tile(5)
