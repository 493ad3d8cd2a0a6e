"""How many crops a second can the trainer be fed?

    python benchmarks/feed.py [--device cuda] [--data WIDER] [--crop 320] [--batch 64]

Times the sampling of crops alone, crops cut by OpenCV and crops cut on the device, while nothing
trains. Without --data it makes 64 images of 1024 x 768 px with 1 to 200 faces each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import torch

from extd.data.datasets import read_dataset
from extd.data.sample import Sample
from extd.training.augmentation import crop_size, sample_crop
from extd.training.distributed import Distributed
from extd.training.image_cache import ImageCache, drop_invalid, open_cache
from extd.training.loader import open_loader
from extd.training.recipe import Augmentation, Compute, Data, DataSet, Recipe


def synthetic(folder: Path, count: int = 64) -> list[Sample]:
    """Smooth images with square faces of 8 to 200 px, small ones more often."""
    rng = np.random.default_rng(0)
    images = []
    for index in range(count):
        path = folder / f"{index}.jpg"
        coarse = rng.integers(0, 256, (24, 32, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (1024, 768), interpolation=cv2.INTER_CUBIC))
        faces = int(200 ** rng.random())
        side = 8 * 25 ** rng.random((faces, 1))
        corner = rng.random((faces, 2)) * (np.array([1024, 768]) - side)
        boxes = np.hstack([corner, corner + side]).astype(np.float32)
        images.append(Sample(path, 1024, 768, boxes, np.zeros((0, 4), np.float32)))
    return images


def sampling_rate(recipe: Recipe, cache: ImageCache) -> float:
    """Crops a second that one thread samples."""
    began = time.perf_counter()
    for step in range(recipe.iterations):
        size = crop_size(recipe, step)
        for place in range(recipe.batch):
            rng = np.random.default_rng((recipe.seed, step, place))
            sample_crop(cache.samples, cache.shares, size, recipe.augmentation, rng)
    return recipe.iterations * recipe.batch / (time.perf_counter() - began)


def feed_rate(recipe: Recipe, cache: ImageCache, device: torch.device) -> float:
    """Crops a second that arrive, with targets, where nothing else is done."""
    with closing(open_loader(recipe, cache, Distributed(0, 1, device))) as feed:
        next(feed)
        began = time.perf_counter()
        for _ in feed:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        return (recipe.iterations - 1) * recipe.batch / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="what `extd data check` reads")
    parser.add_argument("--images", type=int, default=500, help="of --data, at most")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=10)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    recipe = Recipe(
        model="extd-fpn-32-prelu",
        data=Data(sets=(DataSet(path=""),)),
        iterations=arguments.batches,
        batch=arguments.batch,
        augmentation=Augmentation(crop_sizes=(arguments.crop,)),
    )
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data:
            images = read_dataset(arguments.data)
            images = images[:: -(-len(images) // arguments.images)]
        else:
            images = synthetic(Path(folder))
        cache = open_cache(dict.fromkeys(drop_invalid(images)[0], 1.0), Path(folder), 0.01)
        faces = sum(len(sample.boxes) for sample in cache.samples)
        print(f"{len(cache.samples)} images, {faces:,} faces, crops of {arguments.crop} px")
        print("| what | crops a second |\n|---|---|")
        print(f"| sampling alone | {sampling_rate(recipe, cache):,.0f} |", flush=True)
        for compute, name in (
            (Compute(feed="cpu"), "cut by OpenCV"),
            (Compute(feed="device"), f"cut on {device}"),
        ):
            chosen = recipe.model_copy(update={"compute": compute})
            speed = feed_rate(chosen, cache, device)
            print(f"| {name}, with targets | {speed:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
