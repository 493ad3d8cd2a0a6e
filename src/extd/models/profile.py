"""Size and cost of a network, counted operator by operator."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters; weights that several passes share count once."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_macs(network: nn.Module, height: int = 480, width: int = 640) -> int:
    """Multiply-adds of the convolutions for one picture of `height` x `width` px.

    Counted as operators run: counters hooked on modules count a shared module once.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, height, width))
    return int(counter.get_total_flops()) // 2
