"""How many crops a second can the trainer be fed?

    python benchmarks/feed.py [--device cuda] [--data WIDER] [--crop 320] [--batch 64]

Times the planning of crops alone, crops cut by OpenCV and crops cut on the device, while nothing
trains. Without --data it makes 64 pictures of 1024 x 768 px with 1 to 200 faces each.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from extd.data.datasets import read_dataset
from extd.data.sample import Sample
from extd.training.batches import open_feed
from extd.training.plan import crop_size, draw
from extd.training.recipe import Augmentation, Compute, Data, DataSet, Recipe
from extd.training.store import PictureStore, open_store, sampling_shares, sift


def synthetic(folder: Path, count: int = 64) -> list[Sample]:
    """Smooth pictures with square faces of 8 to 200 px, small ones more often."""
    rng = np.random.default_rng(0)
    pictures = []
    for index in range(count):
        path = folder / f"{index}.jpg"
        coarse = rng.integers(0, 256, (24, 32, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (1024, 768), interpolation=cv2.INTER_CUBIC))
        faces = int(200 ** rng.random())
        side = 8 * 25 ** rng.random((faces, 1))
        corner = rng.random((faces, 2)) * (np.array([1024, 768]) - side)
        boxes = np.hstack([corner, corner + side]).astype(np.float32)
        pictures.append(Sample(path, 1024, 768, boxes, np.zeros((0, 4), np.float32)))
    return pictures


def plan_rate(recipe: Recipe, store: PictureStore, shares: NDArray[np.float64]) -> float:
    """Crops a second that one thread plans."""
    began = time.perf_counter()
    for step in range(recipe.iterations):
        size = crop_size(recipe, step)
        for place in range(recipe.batch):
            rng = np.random.default_rng((recipe.seed, step, place))
            draw(store.pictures, shares, size, recipe.augmentation, rng)
    return recipe.iterations * recipe.batch / (time.perf_counter() - began)


def feed_rate(
    recipe: Recipe, store: PictureStore, shares: NDArray[np.float64], device: torch.device
) -> float:
    """Crops a second that arrive, with targets, where nothing else is done."""
    with closing(open_feed(recipe, store, shares, device)) as feed:
        next(feed)
        began = time.perf_counter()
        for _ in feed:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        return (recipe.iterations - 1) * recipe.batch / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="what `extd data check` reads")
    parser.add_argument("--pictures", type=int, default=500, help="of --data, at most")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=10)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    recipe = Recipe(
        "extd-fpn-32-prelu",
        Data((DataSet(""),)),
        arguments.batches,
        arguments.batch,
        augmentation=Augmentation(crops=(arguments.crop,)),
    )
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data:
            pictures = read_dataset(arguments.data)
            pictures = pictures[:: -(-len(pictures) // arguments.pictures)]
        else:
            pictures = synthetic(Path(folder))
        store = open_store(sift(pictures)[0], Path(folder), 0.01)
        shares = sampling_shares(store.pictures, [1.0] * len(store.pictures))
        faces = sum(len(picture.boxes) for picture in store.pictures)
        print(f"{len(store.pictures)} pictures, {faces:,} faces, crops of {arguments.crop} px")
        print("| what | crops a second |\n|---|---|")
        print(f"| planning alone | {plan_rate(recipe, store, shares):,.0f} |", flush=True)
        for compute, name in (
            (Compute(feed="cpu"), "cut by OpenCV"),
            (Compute(feed="device"), f"cut on {device}"),
        ):
            chosen = dataclasses.replace(recipe, compute=compute)
            speed = feed_rate(chosen, store, shares, device)
            print(f"| {name}, with targets | {speed:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
