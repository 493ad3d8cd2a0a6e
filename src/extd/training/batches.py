"""Batches of crops with their targets; a batch depends on the recipe and its number alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from extd.data.sample import Sample
from extd.models.anchors import Level, anchor_boxes, anchor_levels
from extd.training.assignment import assign
from extd.training.augmentation import Labels, cut, label
from extd.training.matching import Targets
from extd.training.plan import Plan, crop_size, draw
from extd.training.recipe import Loss, Recipe
from extd.training.rendering import render, send, upload
from extd.training.store import PictureStore

LOOK_AHEAD = 3
"""Batches prepared while the network trains."""
GROWTH = 4
"""Crops with one box are matched together, then those with up to 4, 16 and so on: many groups
would keep a GPU waiting, few would pad most crops to many times their boxes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's crops of an optimiser step, on the device of the feed.

    Attributes:
        images: B x 3 x S x S uint8 RGB.
        faces: B x N x 4 float32, xyxy in crop px, padded with zeros; N is at least 1.
        real: B x N bool, which faces are no padding.
        targets: what each anchor should say.
        first_shot: the same for anchors of half the size, where the recipe has a progressive
            anchor loss.
        landmarks: B x N x 10 float32, five points of each face, crop px; NaN where not known.
        paths: B picture files, for error messages.
    """

    images: Tensor
    faces: Tensor
    real: Tensor
    targets: Targets
    first_shot: Targets | None
    landmarks: Tensor
    paths: list[str]

    def tensors(self) -> list[Tensor]:
        """Everything that lies in the memory of the device."""
        shots = [*self.targets, *(self.first_shot or ())]
        return [self.images, self.faces, self.real, self.landmarks, *shots]


def open_feed(
    recipe: Recipe,
    store: PictureStore,
    shares: NDArray[np.float64],
    device: torch.device,
    first: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Generator[Batch]:
    """Batches `first` to the last of the recipe, prepared a few ahead in a background thread.

    Args:
        recipe: `compute.feed` says where crops are cut: `cpu`, by OpenCV, or `device`, from
            pictures in its memory. `auto` is `device` on CUDA and `cpu` elsewhere.
        store: decoded pictures.
        shares: as of `extd.training.store.sampling_shares`.
        device: where the network trains.
        first: number of the first batch.
        rank: number of this process, which gets every `world`-th crop from there on.
        world: how many processes share a batch.

    Returns:
        A generator; close it to end the thread. What goes wrong there is raised by `next`.

    Raises:
        ValueError: the pictures do not fit into the memory of the device.
    """
    feed = recipe.compute.feed
    cut_images: Callable[[Sequence[Plan]], Tensor]
    if feed == "cpu" or (feed == "auto" and device.type != "cuda"):
        device, cut_images = torch.device("cpu"), partial(cut_all, store)
    else:
        cut_images = partial(render, upload(store, device))
    places = range(rank, recipe.batch, world)
    make = partial(make_batch, recipe, store.pictures, shares, places, cut_images, device)
    return _ahead(make, range(first, recipe.iterations), device)


def make_batch(
    recipe: Recipe,
    pictures: Sequence[Sample],
    shares: NDArray[np.float64],
    places: Sequence[int],
    cut_images: Callable[[Sequence[Plan]], Tensor],
    device: torch.device,
    step: int,
) -> Batch:
    """The crops of batch number `step` at some of its places."""
    size, settings = crop_size(recipe, step), recipe.augmentation
    # Seeded by place, not drawn in sequence: a resumed run sees the very same crops.
    plans = [
        draw(pictures, shares, size, settings, np.random.default_rng((recipe.seed, step, place)))
        for place in places
    ]
    images = cut_images(plans)
    labels = label(plans, pictures, settings.min_face)
    boxes = [send(part, device) for part in labels]
    groups = [(send(rows, device), width) for rows, width in group(labels)]
    levels = anchor_levels(recipe.config, size, size)
    anchors = anchor_boxes(recipe.config, size, size, device)
    first_shot = None
    if recipe.loss.progressive:
        halved = torch.cat([anchors[:, :2], anchors[:, 2:] / 2], 1)
        smaller = [level._replace(side=level.side / 2) for level in levels]
        first_shot = _match(smaller, halved, boxes, groups, recipe.loss)
    return Batch(
        images,
        boxes[0],
        boxes[1],
        _match(levels, anchors, boxes, groups, recipe.loss),
        first_shot,
        boxes[4],
        [str(pictures[plan.picture].path) for plan in plans],
    )


def cut_all(store: PictureStore, plans: Sequence[Plan]) -> Tensor:
    """The crops of `plans`, cut by OpenCV: B x 3 x S x S uint8 RGB."""
    crops = np.stack([cut(store.pixels(plan.picture), plan) for plan in plans])
    return torch.from_numpy(crops).permute(0, 3, 1, 2)


def group(labels: Labels) -> list[tuple[NDArray[np.intp], int]]:
    """Crops with about as many boxes: their rows, and a number of columns that holds the boxes.

    One crowd in a batch of portraits would pad all of them to its own size.
    """
    most = np.maximum(labels.real.sum(1), labels.ignore_real.sum(1)).clip(1)
    widths = GROWTH ** np.ceil(np.log2(most) / np.log2(GROWTH)).astype(np.int64)
    return [(np.flatnonzero(widths == width), int(width)) for width in np.unique(widths)]


def _match(
    levels: Sequence[Level],
    anchors: Tensor,
    boxes: list[Tensor],
    groups: list[tuple[Tensor, int]],
    settings: Loss,
) -> Targets:
    """The targets of all crops, group by group."""
    shape = (len(boxes[0]), len(anchors))
    whole = Targets(
        torch.empty(shape, dtype=torch.int64, device=anchors.device),
        torch.empty(shape, dtype=torch.bool, device=anchors.device),
    )
    for rows, width in groups:
        faces, real, ignore, ignore_real = (each[rows, :width] for each in boxes[:4])
        targets = assign(levels, anchors, faces, real, ignore, ignore_real, settings)
        whole.face[rows], whole.ignored[rows] = targets
    return whole


def _ahead(
    make: Callable[[int], Batch], steps: Iterable[int], device: torch.device
) -> Generator[Batch]:
    """The batches of `steps`, made in a thread; on CUDA, in a stream of its own."""
    stream = None
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # The pictures were put into memory in this one.
        stream.wait_stream(torch.cuda.current_stream(device))

    def work(step: int) -> tuple[Batch, torch.cuda.Event | None]:
        if stream is None:
            return make(step), None
        with torch.cuda.stream(stream):
            return make(step), stream.record_event()

    worker = ThreadPoolExecutor(1, "crops")
    pending: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()
    try:
        for step in steps:
            pending.append(worker.submit(work, step))
            if len(pending) > LOOK_AHEAD:
                yield _received(*pending.popleft().result())
        while pending:
            yield _received(*pending.popleft().result())
    finally:
        worker.shutdown(cancel_futures=True)
        if stream is not None:
            # Nothing may read the pictures any more when their memory is given back.
            stream.synchronize()


def _received(batch: Batch, ready: torch.cuda.Event | None) -> Batch:
    """`batch`, for use in the current stream."""
    if ready is not None:
        stream = torch.cuda.current_stream(batch.images.device)
        stream.wait_event(ready)
        # Their memory belongs to the feed's stream, which must not use it again too early.
        for tensor in batch.tensors():
            tensor.record_stream(stream)
    return batch
