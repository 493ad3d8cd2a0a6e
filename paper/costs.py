"""Cost of a network beyond its parameters and multiply-adds (`extd.models.network`).

Counts need shapes alone: a network built within `torch.device("meta")` has no numbers and costs no
time, whatever its size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def count_hooked_macs(network: nn.Module, height: int = 480, width: int = 640) -> int:
    """What a counter gives that keeps one figure a module, that of its last call.

    It is less than `count_macs` where modules are shared: of six passes it sees the smallest.
    """
    macs: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module.weight, Tensor)
        macs[module] = module.weight[0].numel() * output.numel()

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [convolution.register_forward_hook(note) for convolution in convolutions]
    try:
        with torch.no_grad():
            network(_image(network, height, width))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(macs.values())


def peak_activations(network: nn.Module, height: int = 480, width: int = 640) -> int:
    """Most bytes that images and maps need at once, for one image of `height` x `width` px.

    Every operator writes a new tensor, which lives until its last reader has run; views share the
    memory of what they show. Weights and what convolutions need inside do not count. Runtimes that
    join an activation to the convolution before it need less.
    """
    network = copy.deepcopy(network).to("meta")
    steps = _Steps()
    with torch.no_grad(), steps:
        predictions = network(_image(network, height, width))
    weights = {_memory(tensor) for tensor in (*network.parameters(), *network.buffers())}
    steps.tensors.append([tensor for tensor in predictions if tensor is not None])
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for step, tensors in enumerate(steps.tensors):
        for tensor in tensors:
            memory = _memory(tensor)
            if memory not in weights:
                first.setdefault(memory, step)
                last[memory] = step
                sizes[memory] = tensor.untyped_storage().nbytes()
    change = [0] * (len(steps.tensors) + 1)
    for memory, size in sizes.items():
        change[first[memory]] += size
        change[last[memory] + 1] -= size
    return max(accumulate(change))


class _Steps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the tensors that each operator reads and writes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tensors: list[list[Tensor]] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        self.tensors.append([leaf for leaf in leaves if isinstance(leaf, Tensor)])
        return result


def _memory(tensor: Tensor) -> int:
    """What tells apart the memory of tensors that are kept."""
    return int(tensor.untyped_storage()._cdata)


def _image(network: nn.Module, height: int, width: int) -> Tensor:
    """1 x 3 x H x W zeros where the network's weights are."""
    return torch.zeros(1, 3, height, width, device=next(network.parameters()).device)
