"""Batches of augmented crops; a batch depends on the seed and its number alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from extd.models.anchors import anchor_boxes, corners
from extd.training.augmentation import augment
from extd.training.dataset import PictureStore
from extd.training.matching import Targets, match
from extd.training.recipe import Recipe

LOOK_AHEAD = 3
"""Batches prepared while the network trains."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimiser step's worth of crops with their targets, on the CPU.

    Attributes:
        images: B x 3 x S x S uint8 RGB.
        faces: B tensors N_b x 4 float32, xyxy px.
        targets: B assignments of the anchors.
        paths: B picture files, for error messages.
    """

    images: Tensor
    faces: list[Tensor]
    targets: list[Targets]
    paths: list[str]


def make_batch(
    step: int, recipe: Recipe, store: PictureStore, shares: NDArray[np.float64], anchors: Tensor
) -> Batch:
    """Batch number `step`; `shares` as of `sampling_shares`, `anchors` A x 4 xyxy px."""
    images, faces, targets, paths = [], [], [], []
    for position in range(recipe.batch):
        # Seeded by place, not drawn in sequence: a resumed run sees the very same crops.
        rng = np.random.default_rng((recipe.seed, step, position))
        index = int(np.searchsorted(shares, rng.random(), side="right"))
        picture = store.pictures[index]
        crop = augment(store.pixels(index), picture.boxes, picture.ignore, recipe.augmentation, rng)
        boxes = torch.from_numpy(crop.boxes)
        images.append(torch.from_numpy(crop.image).permute(2, 0, 1))
        faces.append(boxes)
        targets.append(match(anchors, boxes, torch.from_numpy(crop.ignore), recipe.loss))
        paths.append(str(picture.path))
    return Batch(torch.stack(images), faces, targets, paths)


def batches(
    first: int, recipe: Recipe, store: PictureStore, shares: NDArray[np.float64]
) -> Iterator[Batch]:
    """Batches `first` to `recipe.iterations`, prepared a few ahead in a background thread."""
    crop = recipe.augmentation.crop
    anchors = corners(anchor_boxes(crop, crop))
    with ThreadPoolExecutor(1) as worker:
        pending: list[Future[Batch]] = []
        try:
            for step in range(first, recipe.iterations + LOOK_AHEAD):
                if step < recipe.iterations:
                    pending.append(worker.submit(make_batch, step, recipe, store, shares, anchors))
                if len(pending) > LOOK_AHEAD or (step >= recipe.iterations and pending):
                    yield pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()
