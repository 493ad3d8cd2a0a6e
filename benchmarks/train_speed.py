"""How much faster the trainer's step is than the plain eager one, as a ratio in one run.

    python benchmarks/train_speed.py

Plain: fp32, NCHW, nn.PReLU, nothing compiled. The trainer's: channels last, torch.compile, and
the faster of fp32 and bf16. Both make whole steps (forward, loss, backward, optimizer) on the
same crops, a few of each in turn, so that what else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from extd.models.anchors import anchor_boxes, anchor_levels
from extd.training.assigners import assign
from extd.training.checkpoint import TrainState, new_state
from extd.training.distributed import Distributed, parallel_network, usable_device
from extd.training.loader import Batch
from extd.training.losses import Truth
from extd.training.recipe import Augmentation, Compute, Data, DataSet, Optimizer, Recipe
from extd.training.trainer import choose_precision, train_step

FACES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="extd-fpn-32-prelu")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = usable_device(arguments.device)

    plain = Compute(precision="fp32", compile=False, channels_last=False)
    ours = Compute(precision="auto", compile=True, channels_last=True)
    recipes = {
        name: Recipe(
            model=arguments.model,
            data=Data(sets=(DataSet(path="unused"),)),
            iterations=1,
            batch=arguments.batch,
            augmentation=Augmentation(crop_sizes=(arguments.crop,)),
            optimizer=Optimizer(name="sgd", lr=1e-3),
            compute=compute,
        )
        for name, compute in (("plain eager", plain), ("extd train", ours))
    }
    dist = Distributed(0, 1, device)
    states: dict[str, TrainState] = {}
    for name, recipe in recipes.items():
        states[name] = new_state(recipe, device)
        states[name].precision = choose_precision(recipe, states[name].network, device)
        parallel_network(states[name].network, recipe.compute, dist).train()
    batch = random_batch(arguments.batch, arguments.crop, recipes["extd train"])

    seconds: dict[str, list[float]] = {name: [] for name in recipes}
    for number in range(2 + arguments.rounds):
        for name, recipe in recipes.items():
            began = time.perf_counter()
            # It reads the loss, so it waits for the device.
            train_step(states[name].network, batch, states[name], recipe, dist, 1e-4)
            if number >= 2:  # the first ones compile and warm up
                seconds[name].append(time.perf_counter() - began)

    print(
        f"{arguments.model}, crop {arguments.crop}, batch {arguments.batch}, {device}, "
        f"{arguments.threads} threads, torch {torch.__version__}"
    )
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in middle.items():
        precision = states[name].precision
        print(
            f"{name:12} {precision}  {value:7.3f} s a step  {arguments.batch / value:7.1f} crops/s"
        )
    print(f"ratio {middle['plain eager'] / middle['extd train']:.2f}")


def random_batch(size: int, crop: int, recipe: Recipe) -> Batch:
    """Noise with faces at random places."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, crop, crop), generator=generator, dtype=torch.uint8)
    corner = torch.rand(size, FACES, 2, generator=generator) * crop * 0.8
    side = 8 + torch.rand(size, FACES, 1, generator=generator) * crop * 0.2
    faces = torch.cat([corner, corner + side], -1)
    real = torch.ones(size, FACES, dtype=torch.bool)
    none = torch.zeros(size, 1, 4)
    nowhere = torch.zeros(size, 1, dtype=torch.bool)
    levels = anchor_levels(recipe.config, crop, crop)
    anchors = anchor_boxes(recipe.config, crop, crop)
    targets = assign(levels, anchors, faces, real, none, nowhere, recipe.loss)
    truth = Truth(faces, real, torch.full((size, FACES, 10), torch.nan))
    return Batch(images, truth, targets, [""] * size)


if __name__ == "__main__":
    main()
