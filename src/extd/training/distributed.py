"""This process among those that train one network, and its device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from extd.training.recipe import Compute


@dataclass(frozen=True, slots=True)
class Distributed:
    """This process among those of a run."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """One process of each machine goes through the block before the others."""
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        if self.world_size > 1 and not first:
            distributed.barrier()
        yield
        if self.world_size > 1 and first:
            distributed.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        if self.world_size > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def any(self, value: bool) -> bool:
        """Whether `value` is true in one of the processes."""
        return bool(self.sum(torch.tensor(int(value), device=self.device)))

    def broadcast(self, value: int) -> int:
        """What `value` is in the main process."""
        return int(self.sum(torch.tensor(value * self.is_main, device=self.device)))


@contextmanager
def init_distributed(device: str | None) -> Iterator[Distributed]:
    """Join the processes that torchrun started; without it there is one.

    By default each computes on a GPU of its own, or on the CPU where there is none.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    index = int(os.environ.get("LOCAL_RANK", "0"))
    default = f"cuda:{index}" if torch.cuda.is_available() else "cpu"
    chosen = usable_device(device or default)
    if world_size == 1:
        yield Distributed(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Distributed(distributed.get_rank(), world_size, chosen)
        # A process that leaves early closes connections that the others may still be using.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def usable_device(name: str) -> torch.device:
    """The torch device of that name; a ValueError if it does not work here."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} does not work here: {reason}") from error
    return device


def parallel_network(network: nn.Module, settings: Compute, dist: Distributed) -> nn.Module:
    """The network as the steps call it: compiled, and averaging gradients over processes."""
    if settings.sync_batchnorm and dist.world_size > 1 and dist.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    if settings.compile:
        network.compile(dynamic=False)
    return DistributedDataParallel(network) if dist.world_size > 1 else network
