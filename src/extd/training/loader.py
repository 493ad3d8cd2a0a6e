"""Batches of crops with their targets; a batch depends on the recipe and its number alone.

A generator rather than torch's DataLoader: crops are seeded by their place, so that a resumed run
sees the very same ones, and two threads are fast enough to keep the network busy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from extd.models.anchors import anchor_boxes, anchor_levels
from extd.prefetch import prefetch
from extd.training.assigners import Labels, Targets, assign
from extd.training.augmentation import CropParams, crop_labels, crop_size, cut, sample_crop
from extd.training.distributed import Distributed
from extd.training.gpu_augmentation import cut_batch, to_device, upload
from extd.training.image_cache import ImageCache
from extd.training.recipe import Recipe

THREADS = 2
"""Make batches; each works on one while the network trains."""
GROWTH = 4
"""Crops with one box are matched together, then those with up to 4, 16 and so on: many groups
keep a GPU waiting, and few pad most crops to many times their boxes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's crops of an optimizer step, on the device that cut them."""

    images: Tensor  # B x 3 x S x S uint8 RGB
    labels: Labels  # in crop px
    targets: Targets
    paths: list[str]  # of the B images, for error messages

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [self.images, *self.labels, *self.targets]

    def part(self, rows: slice) -> Batch:
        """Some of the crops."""
        return self._changed(lambda tensor: tensor[rows], self.paths[rows])

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`, without waiting for the copies."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=True), self.paths)

    def _changed(self, change: Callable[[Tensor], Tensor], paths: list[str]) -> Batch:
        labels, targets = Labels(*map(change, self.labels)), Targets(*map(change, self.targets))
        return Batch(change(self.images), labels, targets, paths)


def open_loader(
    recipe: Recipe, cache: ImageCache, dist: Distributed, first: int = 0
) -> Generator[Batch]:
    """This process's share of batches `first` to the last, a few made ahead in threads.

    Every process gets the crops from its rank on, one in `world_size`. Close the generator to end
    the threads. What goes wrong there is raised by `next`.

    Raises:
        ValueError: the images do not fit into the memory of the device.
    """
    cut_images: Callable[[Sequence[CropParams]], Tensor]
    if feed_of(recipe, dist.device) == "cpu":
        device, cut_images = torch.device("cpu"), partial(cut_all, cache)
    else:
        device, cut_images = dist.device, partial(cut_batch, upload(cache, dist.device))
    places = range(dist.rank, recipe.batch, dist.world_size)
    make = partial(make_batch, recipe, cache, places, cut_images, device)
    return _prefetched(make, range(first, recipe.iterations), device)


def feed_of(recipe: Recipe, device: torch.device) -> str:
    """`cpu` or `device`: where crops are cut."""
    if recipe.compute.feed == "auto":
        return "device" if device.type == "cuda" else "cpu"
    return recipe.compute.feed


def make_batch(
    recipe: Recipe,
    cache: ImageCache,
    places: Sequence[int],
    cut_images: Callable[[Sequence[CropParams]], Tensor],
    device: torch.device,
    step: int,
) -> Batch:
    """The crops of batch number `step` at some of its places."""
    size, settings, samples = crop_size(recipe, step), recipe.augmentation, cache.samples
    # Seeded by place, not drawn in sequence: a resumed run sees the very same crops.
    chances = [np.random.default_rng((recipe.seed, step, place)) for place in places]
    crops = [sample_crop(samples, cache.shares, size, settings, rng) for rng in chances]
    images = cut_images(crops)
    labels = crop_labels(crops, samples, settings.min_face)
    groups = group(labels)
    labels = Labels(*(to_device(part, device) for part in labels))
    levels = anchor_levels(recipe.config, size, size)
    anchors = anchor_boxes(recipe.config, size, size, device)
    shape = (len(crops), len(anchors))
    face = torch.empty(shape, dtype=torch.int64, device=device)
    targets = Targets(face, torch.empty(shape, dtype=torch.bool, device=device))
    for members, width in groups:
        rows = to_device(members, device)
        some = Labels(*(part[rows, :width] for part in labels))
        targets.face[rows], targets.ignored[rows] = assign(levels, anchors, some, recipe.loss)
    return Batch(images, labels, targets, [str(samples[crop.image].path) for crop in crops])


def cut_all(cache: ImageCache, crops: Sequence[CropParams]) -> Tensor:
    """The crops, cut by OpenCV: B x 3 x S x S uint8 RGB."""
    images = np.stack([cut(cache.pixels(crop.image), crop) for crop in crops])
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def group(labels: Labels) -> list[tuple[Tensor, int]]:
    """Crops with about as many boxes: their rows, and a number of columns that holds the boxes.

    One crowd in a batch of portraits would pad all of them to its own size.
    """
    most = torch.maximum(labels.real.sum(1), labels.ignore_real.sum(1)).clamp(min=1).numpy()
    widths = GROWTH ** np.ceil(np.log2(most) / np.log2(GROWTH)).astype(np.int64)
    return [(torch.from_numpy(np.flatnonzero(widths == w)), int(w)) for w in np.unique(widths)]


def _prefetched(
    make: Callable[[int], Batch], steps: range, device: torch.device
) -> Generator[Batch]:
    """The batches of `steps`, made in threads; on CUDA, in a stream of their own."""
    stream: torch.cuda.Stream | None = None
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # The images were uploaded in this one.
        stream.wait_stream(torch.cuda.current_stream(device))

    def work(step: int) -> tuple[Batch, torch.cuda.Event | None]:
        with torch.cuda.stream(stream):  # without one, it does nothing
            return make(step), stream.record_event() if stream else None

    try:
        with closing(prefetch(steps, work, THREADS)) as results:
            for _, result in results:
                if isinstance(result, Exception):
                    raise result
                batch, ready = result
                if ready is not None:
                    _hand_over(batch, ready)
                yield batch
    finally:
        if stream is not None:
            # Nothing may read the images any more when their memory is given back.
            stream.synchronize()


def _hand_over(batch: Batch, ready: torch.cuda.Event) -> None:
    """Let the current stream use the batch, once it is `ready`."""
    stream = torch.cuda.current_stream(batch.images.device)
    stream.wait_event(ready)
    # Their memory belongs to the loader's stream, which must not use it again too early.
    for tensor in batch.tensors():
        tensor.record_stream(stream)
