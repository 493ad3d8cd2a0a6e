from __future__ import annotations

import pytest
import torch
from costs import count_hooked_macs, peak_activations
from torch import Tensor, nn
from torch.nn import functional as F

from extd.models.config import ExtdConfig, S3fdConfig, parse_name
from extd.models.network import build_network, count_macs, count_parameters

PIXELS = 8 * 8 * 4
"""Bytes of a map of one channel."""


class Chain(nn.Module):
    """Two passes of one convolution of 3 to 3 channels, and a skip from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.conv(F.relu(self.conv(x))) + x,)


class Kept(nn.Module):
    """Shows the image in another shape, and widens it for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Conv2d(3, 12, 1)
        self.narrow = nn.Conv2d(12, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.narrow(self.widen(x)).flatten(2), x.flatten(2).transpose(1, 2)


def test_a_shared_convolution_counts_as_often_as_it_runs() -> None:
    once = 3 * 3 * 9 * 64
    assert count_macs(Chain(), 8, 8) == 2 * once
    assert count_hooked_macs(Chain(), 8, 8) == once


def test_memory_is_what_is_still_needed() -> None:
    # The image stays for the skip; beside it are an operator's input and output.
    assert peak_activations(Chain(), 8, 8) == 9 * PIXELS
    # Views cost nothing, and the image is an output.
    assert peak_activations(Kept(), 8, 8) == (3 + 12 + 1) * PIXELS


@pytest.mark.parametrize("name", ["extd-ssd-32-prelu", "extd-lite"])
def test_shapes_alone_give_the_same_counts(name: str) -> None:
    real = build_network(parse_name(name)).eval()
    with torch.device("meta"):
        shapes = build_network(parse_name(name)).eval()
    assert count_parameters(real) == count_parameters(shapes)
    for count in (count_macs, count_hooked_macs, peak_activations):
        assert count(real, 96, 128) == count(shapes, 96, 128)


def test_hooks_count_right_where_nothing_is_shared() -> None:
    with torch.device("meta"):
        s3fd = build_network(S3fdConfig("vgg16")).eval()
        extd = build_network(ExtdConfig("fpn", 64)).eval()
    assert count_hooked_macs(s3fd, 128, 128) == count_macs(s3fd, 128, 128)
    assert 10 * count_hooked_macs(extd, 128, 128) < count_macs(extd, 128, 128)


def test_s3fd_holds_two_maps_of_its_first_stage_at_once() -> None:
    with torch.device("meta"):
        s3fd = build_network(S3fdConfig("vgg16")).eval()
    assert peak_activations(s3fd, 480, 640) == 2 * 64 * 480 * 640 * 4
