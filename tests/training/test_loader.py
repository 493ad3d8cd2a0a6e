from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from extd.data.sample import Sample
from extd.models.anchors import anchor_boxes, anchor_levels
from extd.training import loader as module
from extd.training.assigners import Labels, assign
from extd.training.augmentation import crop_labels, sample_crop
from extd.training.distributed import Distributed
from extd.training.image_cache import ImageCache, open_cache
from extd.training.loader import Batch, group, open_loader
from extd.training.recipe import Recipe

CPU = torch.device("cpu")
ALONE = Distributed(0, 1, CPU)
Change = Callable[..., Recipe]
FEEDS = pytest.mark.parametrize("feed", ["cpu", "device"])


@pytest.fixture
def data(tmp_path: Path) -> ImageCache:
    """Smooth images with one to forty faces, some of them ignored."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(5):
        width, height = 160 + 40 * i, 240 - 20 * i
        coarse = rng.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
        count = (1, 40, 3, 12, 2)[i]
        corner = rng.uniform(0, 0.8, (count, 2)) * (width, height)
        boxes = np.hstack([corner, corner + rng.uniform(5, 60, (count, 1))]).astype(np.float32)
        samples.append(Sample(path, width, height, boxes, boxes[: i // 2] + 20))
    return open_cache(dict.fromkeys(samples, 1.0), tmp_path / "cache")


def same(a: Batch, b: Batch) -> bool:
    return a.paths == b.paths and all(
        torch.equal(x.nan_to_num(), y.nan_to_num())
        for x, y in zip(a.tensors(), b.tensors(), strict=True)
    )


@pytest.mark.parametrize("feed", ["cpu", "device", "auto"])
def test_a_batch_depends_on_its_number_alone(
    recipe: Recipe, change: Change, data: ImageCache, feed: str
) -> None:
    sizes = {"crop_sizes": (128, 160)}
    recipe = change(recipe, compute={"feed": feed}, augmentation=sizes)
    whole = list(open_loader(recipe, data, ALONE))
    assert len(whole) == recipe.iterations
    assert {batch.images.shape[-1] for batch in whole} == {128, 160}
    assert not same(whole[0], whole[1])
    for number, batch in enumerate(open_loader(recipe, data, ALONE, 4), 4):
        assert same(batch, whole[number])
    assert list(open_loader(recipe, data, ALONE, recipe.iterations)) == []


@FEEDS
def test_images_without_faces_are_drawn(
    recipe: Recipe, change: Change, data: ImageCache, tmp_path: Path, feed: str
) -> None:
    none = np.zeros((0, 4), np.float32)
    first, *others = data.samples
    samples = [first, *(dataclasses.replace(s, boxes=none, ignore=none) for s in others)]
    cache = open_cache(dict.fromkeys(samples, 1.0), tmp_path / "mixed", max_background=0.5)
    # A recipe without kinds that enlarge faces, and one with all of them.
    for probability in (0.0, 0.25):
        kinds = {f"{kind}_prob": probability for kind in ("anchor_sampling", "size_sampling")}
        chosen = change(recipe, compute={"feed": feed}, batch=40, augmentation=kinds, iterations=1)
        (batch,) = open_loader(chosen, cache, ALONE)
        empty = np.array([path != str(first.path) for path in batch.paths])
        assert 8 < empty.sum() < 32
        assert not batch.labels.real[torch.from_numpy(empty)].any()
        assert (batch.targets.face[torch.from_numpy(empty)] < 0).all()


@FEEDS
def test_processes_share_a_batch_crop_by_crop(
    recipe: Recipe, change: Change, data: ImageCache, feed: str
) -> None:
    recipe = change(recipe, compute={"feed": feed}, batch=7, iterations=1)
    (alone,) = open_loader(recipe, data, ALONE)
    for rank in range(3):
        (part,) = open_loader(recipe, data, Distributed(rank, 3, CPU))
        assert part.paths == alone.paths[rank::3]
        assert torch.equal(part.images, alone.images[rank::3])
        assert torch.equal(part.targets.face, alone.targets.face[rank::3])
        faces, real = alone.labels.faces[rank::3], alone.labels.real[rank::3]
        assert torch.equal(part.labels.faces[part.labels.real], faces[real])


def test_both_feeds_give_the_same_crops(recipe: Recipe, change: Change, data: ImageCache) -> None:
    recipe = change(recipe, batch=24, iterations=2)
    feeds = [
        open_loader(change(recipe, compute={"feed": feed}), data, ALONE)
        for feed in ("cpu", "device")
    ]
    for ours, theirs in zip(*feeds, strict=True):
        assert len(set(ours.paths)) > 2
        assert same(dataclasses.replace(ours, images=theirs.images), theirs)
        # The interpolation of each crop is drawn for OpenCV alone.
        assert (ours.images.float() - theirs.images.float()).abs().mean() < 5


def test_targets_are_those_of_each_crop_alone(
    recipe: Recipe, change: Change, data: ImageCache
) -> None:
    recipe = change(recipe, model="extd-fpn-32-relu", batch=12, iterations=1)
    (batch,) = open_loader(recipe, data, ALONE)
    assert batch.images.shape == (12, 3, 128, 128)
    assert batch.images.dtype == torch.uint8
    assert (batch.targets.face >= 0).any()
    assert batch.targets.ignored.any()
    levels = anchor_levels(recipe.config, 128, 128)
    anchors = anchor_boxes(recipe.config, 128, 128)
    settings = recipe.augmentation
    for place in range(12):
        rng = np.random.default_rng((recipe.seed, 0, place))
        crop = sample_crop(data.samples, data.shares, 128, settings, rng)
        labels = crop_labels([crop], data.samples, settings.min_face)
        targets = assign(levels, anchors, labels, recipe.loss)
        assert torch.equal(targets.face[0], batch.targets.face[place])
        assert torch.equal(targets.ignored[0], batch.targets.ignored[place])


def test_groups_hold_every_crop_once_and_all_its_boxes() -> None:
    counts = torch.tensor([0, 3, 1, 9, 300, 16, 17, 0, 4])
    real = torch.arange(304) < counts[:, None]
    boxes, none, points = torch.zeros(9, 304, 4), torch.zeros_like(real), torch.zeros(9, 304, 10)
    groups = group(Labels(boxes, real, boxes, none, points))
    assert [(rows.tolist(), width) for rows, width in groups] == [
        ([0, 2, 7], 1),
        ([1, 8], 4),
        ([3, 5], 16),
        ([6], 64),
        ([4], 1024),
    ]
    crowded = group(Labels(boxes, none, boxes, real, points))
    assert [width for _, width in crowded] == [1, 4, 16, 64, 1024]


def threads() -> int:
    return sum(thread.name.startswith("extd-prefetch") for thread in threading.enumerate())


@FEEDS
def test_a_loader_that_is_closed_early_leaves_no_thread(
    recipe: Recipe, change: Change, data: ImageCache, feed: str
) -> None:
    endless = change(recipe, compute={"feed": feed}, iterations=10**9)
    running = open_loader(endless, data, ALONE)
    next(running)
    assert threads() > 0
    running.close()
    assert threads() == 0
    open_loader(recipe, data, ALONE).close()
    assert threads() == 0


def test_what_goes_wrong_in_the_thread_is_raised_at_its_batch(
    recipe: Recipe, data: ImageCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_in_the_third(recipe: Recipe, step: int) -> int:
        if step == 2:
            raise ValueError("a broken map")
        return 128

    monkeypatch.setattr(module, "crop_size", fail_in_the_third)
    running = open_loader(recipe, data, ALONE)
    assert len([next(running), next(running)]) == 2
    with pytest.raises(ValueError, match="a broken map"):
        next(running)
    assert threads() == 0
    assert list(running) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_crops_that_the_cpu_makes(
    recipe: Recipe, change: Change, data: ImageCache
) -> None:
    recipe = change(recipe, compute={"feed": "device"}, batch=64, iterations=20)
    cpu = open_loader(recipe, data, ALONE)
    gpu = open_loader(recipe, data, Distributed(0, 1, torch.device("cuda")))
    for ours, theirs in zip(cpu, gpu, strict=True):
        assert ours.paths == theirs.paths
        for a, b in zip(ours.tensors()[1:], theirs.tensors()[1:], strict=True):
            assert (a.nan_to_num() != b.cpu().nan_to_num()).float().mean() < 1e-3
        difference = (ours.images.int() - theirs.images.cpu().int()).abs()
        assert (difference > 1).float().mean() < 1e-3
