"""How weights move: SGD, AdamW, Muon, learning rate, moving average, frozen batch norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from extd.models.network import TorchNetwork
from extd.training.recipe import Optimizer

STEP_FACTOR = 0.1
FUSED = ("cpu", "cuda")
"""Devices on which PyTorch updates all weights in one go."""
IMAGE_CHANNELS = 3
GAIN = 2.0
"""By which Muon's learning rate is greater than that of AdamW; 2 learned faster than 1."""


def lr_at(step: int, iterations: int, settings: Optimizer) -> float:
    """The learning rate of step number `step` of `iterations`."""
    if settings.schedule == "wsd":
        begin = round(iterations * (1 - settings.decay))
        decayed = (iterations - step) / max(iterations - begin, 1)
        return settings.lr * min(1, (step + 1) / max(settings.warmup, 1), decayed)
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    if settings.schedule == "cosine":
        share = (step - settings.warmup) / max(iterations - settings.warmup, 1)
        return settings.lr * (1 + math.cos(math.pi * share)) / 2
    return settings.lr * STEP_FACTOR ** sum(step >= m for m in settings.milestones)


def build_optimizers(
    network: TorchNetwork, settings: Optimizer, device: torch.device
) -> list[torch.optim.Optimizer]:
    """The optimizers of a run, each with its share of the weights."""
    fused = device.type in FUSED
    if settings.name == "sgd":
        parameters, momentum, decay = network.parameters(), settings.momentum, settings.weight_decay
        return [torch.optim.SGD(parameters, settings.lr, momentum, weight_decay=decay, fused=fused)]
    kernels = _kernels(network) if settings.name == "muon" else []
    taken = {id(kernel) for kernel in kernels}
    others = [p for p in network.parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=settings.lr, fused=fused)
    if not kernels:
        return [adamw]
    muon = ConvolutionMuon(kernels, settings.lr, settings.momentum, settings.weight_decay)
    return [muon, adamw]


def _kernels(network: TorchNetwork) -> list[nn.Parameter]:
    """Kernels between features: not of the image, not depthwise, not of the heads."""
    wanted = {
        id(layer.weight)
        for name, part in network.named_children()
        if name != "heads"
        for layer in part.modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.in_channels > IMAGE_CHANNELS
    }
    return [p for p in network.parameters() if id(p) in wanted]


class ConvolutionMuon(torch.optim.Muon):
    """Muon (arXiv 2502.16982), which takes matrices, on the kernels of convolutions.

    A kernel is a matrix with one row for each output channel. The root mean square of a step is
    about 0.2 · `GAIN` of the learning rate, and decay is `GAIN` times that of AdamW.
    """

    def __init__(
        self, kernels: Sequence[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ) -> None:
        self.kernels = kernels
        super().__init__(
            [nn.Parameter(_matrix(kernel.data)) for kernel in kernels],
            lr=lr,
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
        """Update the kernels, whose memory the matrices share."""
        (group,) = self.param_groups
        for matrix, kernel in zip(group["params"], self.kernels, strict=True):
            assert kernel.grad is not None
            like = kernel.grad.contiguous(memory_format=_format(kernel))
            matrix.grad = _matrix(like)
        lr = group["lr"]
        group["lr"] = GAIN * lr
        loss = super().step(closure)  # type: ignore[no-untyped-call]
        group["lr"] = lr
        return loss


def _format(kernel: Tensor) -> torch.memory_format:
    return torch.contiguous_format if kernel.is_contiguous() else torch.channels_last


def _matrix(kernel: Tensor) -> Tensor:
    """The same memory with a row for each output channel; the order of columns is indifferent."""
    return (kernel if kernel.is_contiguous() else kernel.permute(0, 2, 3, 1)).flatten(1)


def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move the average toward the network after step number `step`; early on it follows faster."""
    move_weights(average, network, 1 - min(decay, (1 + step) / (10 + step)))


def move_weights(network: nn.Module, other: nn.Module, share: float) -> None:
    """Move the weights of a network by a share of the way to those of another."""
    own, others = (list(m.state_dict().values()) for m in (network, other))
    pairs = list(zip(own, others, strict=True))
    with torch.no_grad():
        moved = [(a, b) for a, b in pairs if a.is_floating_point()]
        # One call for all: hundreds of small ones cost a CPU more than the arithmetic.
        torch._foreach_lerp_([a for a, _ in moved], [b for _, b in moved], share)
        for value, wanted in pairs:
            if not value.is_floating_point():
                value.copy_(wanted)


def set_modes(network: nn.Module, average: nn.Module, step: int, freeze_bn_at: int) -> None:
    """Training mode, with the batch norms' running statistics in force once they are frozen."""
    network.train()
    if not freeze_bn_at or step < freeze_bn_at - 1:
        return
    for norm, mean in zip(_batch_norms(network), _batch_norms(average), strict=True):
        # The network's own statistics follow the last few batches alone.
        if step == freeze_bn_at - 1:
            norm.load_state_dict({**norm.state_dict(), **dict(mean.named_buffers())})
        norm.eval()


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    # SyncBatchNorm, too, is a batch norm, though no BatchNorm2d.
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
