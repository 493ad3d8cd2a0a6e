"""Several processes that train one network, started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: its number; 0 writes the files.
        world: how many there are.
        device: where it computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """One process of each machine goes through the block before the others."""
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        if self.world > 1 and not first:
            distributed.barrier()
        yield
        if self.world > 1 and first:
            distributed.barrier()

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        if self.world > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def of_first(self, value: int) -> int:
        """What `value` is in the process of rank 0."""
        return int(self.total(torch.tensor(value * self.leads, device=self.device)).item())


@contextmanager
def processes(device: str | None) -> Iterator[Processes]:
    """Join the processes that torchrun started; without it there is one.

    Args:
        device: torch device; by default CUDA where there is one, a GPU a process.

    Raises:
        ValueError: there is no such device, or it does not work here.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(0, 1, usable_device(device or _default_device(0)))
        return
    target = usable_device(device or _default_device(int(os.environ["LOCAL_RANK"])))
    if target.type == "cuda":
        torch.cuda.set_device(target)
    distributed.init_process_group("nccl" if target.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), world, target)
    finally:
        distributed.destroy_process_group()


def _default_device(index: int) -> str:
    return f"cuda:{index}" if torch.cuda.is_available() else "cpu"


def usable_device(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        ValueError: there is none, or it does not work here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} does not work here: {reason}") from error
    return device
