"""How much faster the trainer's step is than the plain eager one, as a ratio in one run.

    python benchmarks/train_speed.py

Plain: fp32, NCHW, nn.PReLU, nothing compiled. The trainer's: channels last, torch.compile, and
the faster of fp32 and bf16. Both make whole steps (forward, loss, backward, optimiser) on the
same crops, a few of each in turn, so that what else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from extd.models.anchors import anchor_boxes
from extd.training.assignment import assign
from extd.training.batches import Batch
from extd.training.distributed import Processes, usable_device
from extd.training.recipe import Augmentation, Compute, Data, DataSet, Optimizer, Recipe
from extd.training.state import new_state, set_modes
from extd.training.step import Stepper, choose_precision

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
    steppers = {}
    for name, compute in (("plain eager", plain), ("extd train", ours)):
        recipe = Recipe(
            model=arguments.model,
            data=Data((DataSet("unused"),)),
            iterations=1,
            batch=arguments.batch,
            augmentation=Augmentation(crops=(arguments.crop,)),
            optimizer=Optimizer("sgd", rate=1e-3),
            compute=compute,
        )
        state = new_state(recipe, device)
        state.precision = choose_precision(recipe, state.objective, device)
        set_modes(state, recipe)
        steppers[name] = Stepper(state, recipe, Processes(0, 1, device))
    batch = random_batch(arguments.batch, arguments.crop, steppers["extd train"].recipe)

    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for stepper in steppers.values():
        for _ in range(2):  # compiles and warms up
            stepper.step(batch, 1e-4)
    for _ in range(arguments.rounds):
        for name, stepper in steppers.items():
            began = time.perf_counter()
            stepper.step(batch, 1e-4)  # reads the loss, so it waits for the device
            seconds[name].append(time.perf_counter() - began)

    print(
        f"{arguments.model}, crop {arguments.crop}, batch {arguments.batch}, {device}, "
        f"{arguments.threads} threads, torch {torch.__version__}"
    )
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in middle.items():
        precision = steppers[name].state.precision
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
    targets = assign(
        anchor_boxes(recipe.config, crop, crop),
        faces,
        real,
        none,
        torch.zeros(size, 1, dtype=torch.bool),
        recipe.loss,
    )
    return Batch(images, faces, real, targets, None, [""] * size)


if __name__ == "__main__":
    main()
