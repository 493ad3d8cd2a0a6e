"""What a run needs of this machine: time, memory, a compiler; known before its first step."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console

from extd.training.distributed import Distributed
from extd.training.recipe import Recipe

COMPILE_HOURS = 2.0
"""For each crop size torch.compile takes up to a quarter of an hour on two cores, and it saves
about a fifth of a step: a run must be longer than this for each to win."""
SHORT_RUN = 20
"""So few steps are over before an estimate would help."""
UNITS = (("days", 86400, 3), ("h", 3600, 2), ("min", 60, 2), ("s", 1, 0))
"""Of durations: name, seconds, and the least number that is given in this unit."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Time and memory of the steps that are left."""

    steps: int
    step_seconds: float  # on average
    memory: float  # bytes of this process, or of the GPU; 0 where unknown

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return self.steps * self.step_seconds

    def __str__(self) -> str:
        """As in `about 50 h: 370,000 steps of 0.49 s; 2.1 GB of memory`."""
        unit, size = next(one[:2] for one in UNITS if self.seconds >= one[1] * one[2])
        memory = f"; {self.memory / 1e9:.1f} GB of memory" if self.memory else ""
        return (
            f"about {self.seconds / size:.0f} {unit}: {self.steps:,} steps of "
            f"{self.step_seconds:.2g} s{memory}"
        )


def estimate(
    step: Callable[[], object],
    left: int,
    crop_size: int,
    recipe: Recipe,
    dist: Distributed,
    console: Console,
) -> bool:
    """Tell what a run of `left` steps will cost; return whether to compile the network.

    A `step` is made twice, with crops of `crop_size` px; not in a short run.
    """
    wanted = recipe.compute.compile
    if left <= SHORT_RUN:
        return wanted is True
    cost = measure_cost(step, left, crop_size, recipe, dist.device)
    console.print(str(cost))
    if wanted != "auto":
        return wanted
    compiled, reason = decide_compile(cost, recipe, dist.device)
    console.print(reason)
    # Processes that time differently decide alike.
    return dist.broadcast(compiled) > 0


def measure_cost(
    step: Callable[[], object], left: int, crop_size: int, recipe: Recipe, device: torch.device
) -> Cost:
    """Time a `step` with crops of one size, and scale it to the recipe's sizes by pixels."""
    before = peak_memory(device)
    for _ in range(2):  # the second counts: the first one warms up
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
    pixels = [size**2 / crop_size**2 for size in recipe.augmentation.crop_sizes]
    memory = before + (peak_memory(device) - before) * max(pixels)
    return Cost(left, seconds * sum(pixels) / len(pixels), memory)


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held so far, on a GPU or in the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource  # which Windows lacks

    # macOS counts bytes, Linux KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def decide_compile(cost: Cost, recipe: Recipe, device: torch.device) -> tuple[bool, str]:
    """Whether `compute.compile: auto` compiles, and why."""
    hours = COMPILE_HOURS * len(set(recipe.augmentation.crop_sizes))
    if cost.seconds < hours * 3600:
        return False, f"not compiled: that pays from about {hours:g} h on"
    if device.type == "cpu" and not shutil.which(compiler()):
        return False, "not compiled: there is no C++ compiler, which could make this run faster"
    return True, "compiled, which takes minutes and memory before the first step"


def check_machine(recipe: Recipe, dist: Distributed) -> None:
    """Raise a ValueError for what could not work here."""
    compiled = recipe.compute.compile is True and dist.device.type == "cpu"
    if compiled and not shutil.which(compiler()):
        raise ValueError(
            f"compile needs the C++ compiler {compiler()}; install it, or set it false"
        )
    shares = dist.world_size * recipe.compute.accumulate
    if recipe.batch % shares:
        raise ValueError(
            f"batch is {recipe.batch}; give a multiple of {shares}, the processes times accumulate"
        )


def compiler() -> str:
    """The C++ compiler that torch.compile calls on a CPU."""
    return os.environ.get("CXX", "g++")
