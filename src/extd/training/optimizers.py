"""What moves the weights of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from extd.training.objective import Objective
from extd.training.recipe import Optimizer

FUSED = ("cpu", "cuda")
"""Devices on which PyTorch moves all weights in one go."""
IMAGE_CHANNELS = 3
GAIN = 2.0
"""By which Muon's rate is greater than that of AdamW; 2 learned faster than 1."""


class ConvolutionMuon(torch.optim.Muon):
    """Muon (arXiv 2502.16982), which takes matrices, on the kernels of convolutions.

    A kernel is a matrix with one row for each output channel. The root mean square of a step is
    about 0.2 · `GAIN` of the rate, and decay is `GAIN` times that of AdamW.
    """

    def __init__(
        self, kernels: Sequence[nn.Parameter], rate: float, momentum: float, weight_decay: float
    ) -> None:
        self.kernels = kernels
        super().__init__(
            [nn.Parameter(_matrix(kernel.data)) for kernel in kernels],
            lr=rate,
            momentum=momentum,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        super().zero_grad(set_to_none)
        for kernel in self.kernels:
            kernel.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the kernels, whose memory the matrices share."""
        (group,) = self.param_groups
        for matrix, kernel in zip(group["params"], self.kernels, strict=True):
            assert kernel.grad is not None
            like = kernel.grad.contiguous(memory_format=_format(kernel))
            matrix.grad = _matrix(like)
        rate = group["lr"]
        group["lr"] = GAIN * rate
        loss = super().step(closure)  # type: ignore[no-untyped-call]
        group["lr"] = rate
        return loss


def _format(kernel: Tensor) -> torch.memory_format:
    return torch.contiguous_format if kernel.is_contiguous() else torch.channels_last


def _matrix(kernel: Tensor) -> Tensor:
    """The same memory with a row for each output channel; the order of columns is indifferent."""
    return (kernel if kernel.is_contiguous() else kernel.permute(0, 2, 3, 1)).flatten(1)


def build_optimizers(
    objective: Objective, settings: Optimizer, device: torch.device
) -> list[torch.optim.Optimizer]:
    """The optimisers of a run, each with its share of the weights."""
    fused = device.type in FUSED
    if settings.kind == "sgd":
        sgd = torch.optim.SGD(
            objective.parameters(),
            lr=settings.rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=fused,
        )
        return [sgd]
    kernels = _kernels(objective) if settings.kind == "muon" else []
    taken = {id(kernel) for kernel in kernels}
    others = [p for p in objective.parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=settings.rate, fused=fused)
    if not kernels:
        return [adamw]
    return [
        ConvolutionMuon(kernels, settings.rate, settings.momentum, settings.weight_decay),
        adamw,
    ]


def _kernels(objective: Objective) -> list[nn.Parameter]:
    """Kernels between features: not of the image, not depthwise, not of the heads."""
    network = objective.network
    parts = [part for name, part in network.named_children() if name != "heads"]
    wanted = {
        id(layer.weight)
        for part in parts
        for layer in part.modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.in_channels > IMAGE_CHANNELS
    }
    return [p for p in network.parameters() if id(p) in wanted]
