"""How long a training step takes, and how much of it is convolutions.

    python benchmarks/train_speed.py
    torchrun --nproc-per-node 2 benchmarks/train_speed.py --batch 8

The second command has a process for each core, with `--batch` crops each.

Whole steps (forward, loss, backward, optimizer) of EXTD-Lite's recipe on crops of noise with 1, 2,
4 ... 128 faces, as crops of WIDER FACE have. A profiler tells the time within convolutions, forward
and backward, which no trainer can do without; the rest is overhead. `BEFORE` is that ratio of step
to convolutions at commit e04e124, when assignment and loss still looked at all anchors: the same
network, crops and threads on the same machine.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch.profiler import profile

from extd.models.anchors import anchor_boxes, anchor_levels
from extd.training.assigners import Labels, assign
from extd.training.checkpoint import new_state
from extd.training.distributed import Distributed, init_distributed, parallel_network
from extd.training.loader import Batch
from extd.training.recipe import Augmentation, Compute, Data, DataSet, Loss, Optimizer, Recipe
from extd.training.trainer import train_step

MOST_FACES = 7
"""Power of two of the faces in the fullest crop."""
CONVOLUTIONS = ("convolution", "conv2d")
BEFORE = 2.17
"""Step over convolutions of the first `extd-lite`: e04e124, 16 crops of 640 px, one thread."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="extd-lite")
    parser.add_argument("--crop", type=int, default=640)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with init_distributed(arguments.device) as dist:
        seconds, share = time_step(arguments, dist)
    if not dist.is_main:
        return
    batch = arguments.batch * dist.world_size
    print(
        f"{arguments.model}, {batch} crops of {arguments.crop} px, {arguments.precision}, "
        f"{dist.device}, {dist.world_size} x {arguments.threads} threads, torch {torch.__version__}"
    )
    print(f"{seconds:.3f} s a step, {batch / seconds:.1f} crops/s")
    print(f"convolutions {share:.0%} of it: a step costs {1 / share:.2f} times its convolutions")
    if arguments.model == "extd-lite":
        print(f"e04e124: {BEFORE:.2f} times, so {BEFORE * share:.2f} times as fast now")


def time_step(arguments: argparse.Namespace, dist: Distributed) -> tuple[float, float]:
    """Seconds of a step, and the share of convolutions in it."""
    recipe = Recipe(
        model=arguments.model,
        data=Data(sets=(DataSet(path="unused"),)),
        iterations=1,
        batch=arguments.batch,
        augmentation=Augmentation(crop_sizes=(arguments.crop,)),
        loss=Loss(
            assigner="simota", classification="quality_focal", regression="eiou", size_ratio=3.0
        ),
        optimizer=Optimizer(name="muon", lr=1e-3),
        compute=Compute(precision=arguments.precision),
    )
    state = new_state(recipe, dist.device)
    state.precision = arguments.precision
    network = parallel_network(state.network.train(), recipe.compute, dist)
    batch = random_batch(arguments.batch, arguments.crop, recipe)

    def step() -> float:
        began = time.perf_counter()
        # It reads the loss, so it waits for the device.
        train_step(network, batch, state, recipe, dist, 1e-4)
        return time.perf_counter() - began

    step(), step()  # warm up
    seconds = statistics.median(step() for _ in range(arguments.rounds))
    with profile() as profiler:
        profiled = step()
    # Of the time with the profiler on: it slows down both alike.
    return seconds, convolution_seconds(profiler) / profiled


def convolution_seconds(profiler: profile) -> float:
    """Time within convolutions, whatever calls them."""
    return float(
        sum(
            event.self_cpu_time_total + event.self_device_time_total
            for event in profiler.key_averages()
            if any(name in event.key for name in CONVOLUTIONS)
        )
        / 1e6
    )


def random_batch(size: int, crop: int, recipe: Recipe) -> Batch:
    """Noise with faces at random places."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, crop, crop), generator=generator, dtype=torch.uint8)
    most = 2**MOST_FACES
    corner = torch.rand(size, most, 2, generator=generator) * crop * 0.8
    side = 8 * (crop / 40) ** torch.rand(size, most, 1, generator=generator)
    faces = torch.cat([corner, corner + side], -1)
    counts = 2 ** (torch.arange(size) % (MOST_FACES + 1))
    real = torch.arange(most) < counts[:, None]
    none = torch.zeros(size, 1, 4)
    nowhere = torch.zeros(size, 1, dtype=torch.bool)
    levels = anchor_levels(recipe.config, crop, crop)
    anchors = anchor_boxes(recipe.config, crop, crop)
    labels = Labels(faces, real, none, nowhere, torch.full((size, most, 10), torch.nan))
    targets = assign(levels, anchors, labels, recipe.loss)
    return Batch(images.contiguous(memory_format=torch.channels_last), labels, targets, [""] * size)


if __name__ == "__main__":
    main()
