from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from extd.data.sample import Sample
from extd.models.anchors import anchor_boxes
from extd.models.config import ExtdConfig
from extd.training import batches as module
from extd.training.assignment import assign
from extd.training.augmentation import Labels, label
from extd.training.batches import Batch, group, open_feed
from extd.training.plan import Plan, draw
from extd.training.recipe import Augmentation, Compute, Loss, Recipe
from extd.training.store import PictureStore, open_store, sampling_shares

NONE = np.zeros((0, 4), np.float32)
CPU = torch.device("cpu")
Data = tuple[PictureStore, NDArray[np.float64]]


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Smooth pictures with one to forty faces, some of them ignored."""
    rng = np.random.default_rng(0)
    pictures = []
    for i in range(5):
        width, height = 160 + 40 * i, 240 - 20 * i
        coarse = rng.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
        count = (1, 40, 3, 12, 2)[i]
        corner = rng.uniform(0, 0.8, (count, 2)) * (width, height)
        boxes = np.hstack([corner, corner + rng.uniform(5, 60, (count, 1))]).astype(np.float32)
        pictures.append(Sample(path, width, height, boxes, boxes[: i // 2] + 20))
    store = open_store(pictures, tmp_path / "cache")
    return store, sampling_shares(store.pictures, [1.0] * 5)


def with_feed(recipe: Recipe, feed: str) -> Recipe:
    return dataclasses.replace(recipe, compute=Compute(feed=feed))


def same(a: Batch, b: Batch) -> bool:
    return a.paths == b.paths and all(
        torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True)
    )


@pytest.mark.parametrize("feed", ["cpu", "device", "auto"])
def test_a_batch_depends_on_its_number_alone(recipe: Recipe, data: Data, feed: str) -> None:
    recipe = dataclasses.replace(
        with_feed(recipe, feed), augmentation=Augmentation(crops=(128, 160))
    )
    whole = list(open_feed(recipe, *data, CPU))
    assert len(whole) == recipe.iterations
    assert {batch.images.shape[-1] for batch in whole} == {128, 160}
    assert not same(whole[0], whole[1])
    for number, batch in enumerate(open_feed(recipe, *data, CPU, 4), 4):
        assert same(batch, whole[number])
    assert list(open_feed(recipe, *data, CPU, recipe.iterations)) == []


@pytest.mark.parametrize("feed", ["cpu", "device"])
def test_processes_share_a_batch_crop_by_crop(recipe: Recipe, data: Data, feed: str) -> None:
    recipe = dataclasses.replace(with_feed(recipe, feed), batch=7)
    alone = next(open_feed(recipe, *data, CPU))
    for rank in range(3):
        part = next(open_feed(recipe, *data, CPU, 0, rank, 3))
        assert part.paths == alone.paths[rank::3]
        assert torch.equal(part.images, alone.images[rank::3])
        assert torch.equal(part.targets.face, alone.targets.face[rank::3])
        assert torch.equal(part.faces[part.real], alone.faces[rank::3][alone.real[rank::3]])


def test_both_feeds_give_the_same_crops(recipe: Recipe, data: Data) -> None:
    recipe = dataclasses.replace(recipe, batch=24, iterations=2, loss=Loss(progressive=0.5))
    feeds = [open_feed(with_feed(recipe, feed), *data, CPU) for feed in ("cpu", "device")]
    for ours, theirs in zip(*feeds, strict=True):
        assert ours.paths == theirs.paths
        assert len(set(ours.paths)) > 2
        for a, b in zip(ours.tensors()[1:], theirs.tensors()[1:], strict=True):
            assert torch.equal(a, b)
        # The interpolation of each crop is drawn for OpenCV alone.
        assert (ours.images.float() - theirs.images.float()).abs().mean() < 5


def test_a_batch_has_what_the_trainer_reads(recipe: Recipe, data: Data) -> None:
    recipe = dataclasses.replace(recipe, batch=24, loss=Loss(progressive=0.5))
    batch = next(open_feed(recipe, *data, CPU))
    count = len(anchor_boxes(ExtdConfig(), 128, 128))
    assert batch.images.shape == (24, 3, 128, 128)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous()
    assert batch.faces.shape == (*batch.real.shape, 4)
    assert batch.faces.dtype == torch.float32
    assert batch.first_shot is not None
    for targets in (batch.targets, batch.first_shot):
        assert targets.face.shape == targets.ignored.shape == (24, count)
        assert targets.face.dtype == torch.int64
        assert (targets.face >= 0).any()
        assert not (targets.ignored & (targets.face >= 0)).any()
        matched = targets.face.clamp(min=0)
        assert batch.real.gather(1, matched)[targets.face >= 0].all()
    assert batch.targets.ignored.any()
    assert not torch.equal(batch.targets.face, batch.first_shot.face)
    plain = dataclasses.replace(recipe, loss=Loss())
    assert next(open_feed(plain, *data, CPU)).first_shot is None


def test_targets_do_not_depend_on_the_crops_beside_them(recipe: Recipe, data: Data) -> None:
    store, shares = data
    recipe = dataclasses.replace(recipe, batch=24)
    batch = next(open_feed(recipe, *data, CPU))
    chance = recipe.augmentation
    for place in range(24):
        rng = np.random.default_rng((recipe.seed, 0, place))
        plan = draw(store.pictures, shares, 128, chance, rng)
        alone = [torch.from_numpy(part) for part in label([plan], store.pictures, chance.min_face)]
        targets = assign(anchor_boxes(ExtdConfig(), 128, 128), *alone, recipe.loss)
        assert torch.equal(targets.face[0], batch.targets.face[place])
        assert torch.equal(targets.ignored[0], batch.targets.ignored[place])


def test_groups_hold_every_crop_once_and_all_its_boxes() -> None:
    counts = np.array([0, 3, 1, 9, 300, 16, 17, 0, 4])
    real = np.arange(304) < counts[:, None]
    boxes = np.zeros((*real.shape, 4), np.float32)
    none, few = np.zeros_like(real), boxes[:, :8]
    groups = group(Labels(boxes, real, few, none[:, :8]))
    assert [(rows.tolist(), width) for rows, width in groups] == [
        ([0, 2, 7], 1),
        ([1, 8], 4),
        ([3, 5], 16),
        ([6], 64),
        ([4], 1024),
    ]
    crowded = group(Labels(few, none[:, :8], boxes, real))
    assert [width for _, width in crowded] == [1, 4, 16, 64, 1024]


def threads() -> int:
    return sum(thread.name.startswith("crops") for thread in threading.enumerate())


@pytest.mark.parametrize("feed", ["cpu", "device"])
def test_a_feed_that_is_closed_early_leaves_no_thread(
    recipe: Recipe, data: Data, feed: str
) -> None:
    running = open_feed(dataclasses.replace(with_feed(recipe, feed), iterations=10**9), *data, CPU)
    next(running)
    assert threads() == 1
    running.close()
    assert threads() == 0
    open_feed(recipe, *data, CPU).close()
    assert threads() == 0


@pytest.mark.parametrize("feed", ["cpu", "device"])
def test_what_goes_wrong_in_the_thread_is_raised_at_its_batch(
    recipe: Recipe, data: Data, feed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def fail_in_the_third(*arguments: object) -> Plan:
        drawn.append(1)
        if len(drawn) > 2 * recipe.batch:
            raise ValueError("a broken map")
        return draw(*arguments)

    monkeypatch.setattr(module, "draw", fail_in_the_third)
    running = open_feed(with_feed(recipe, feed), *data, CPU)
    assert len([next(running), next(running)]) == 2
    with pytest.raises(ValueError, match="a broken map"):
        next(running)
    assert threads() == 0
    assert list(running) == []


def test_few_batches_are_made_ahead(
    recipe: Recipe, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(module, "make_batch", lambda *arguments: made.append(arguments[-1]))
    monkeypatch.setattr(module, "_received", lambda *arguments: arguments)
    running = open_feed(dataclasses.replace(recipe, iterations=10**9), *data, CPU)
    for _ in range(5):
        next(running)
    time.sleep(0.2)  # room for making more, on a machine that is not too slow
    running.close()
    assert 5 <= len(made) <= 5 + module.LOOK_AHEAD
    assert made == list(range(len(made)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_crops_that_the_cpu_makes(recipe: Recipe, data: Data) -> None:
    recipe = dataclasses.replace(with_feed(recipe, "device"), batch=64, iterations=20)
    here, there = (open_feed(recipe, *data, torch.device(name)) for name in ("cpu", "cuda"))
    for ours, theirs in zip(here, there, strict=True):
        assert ours.paths == theirs.paths
        for a, b in zip(ours.tensors()[1:], theirs.tensors()[1:], strict=True):
            assert b.is_cuda
            assert (a != b.cpu()).float().mean() < 1e-3
        difference = (ours.images.int() - theirs.images.cpu().int()).abs()
        assert (difference > 1).float().mean() < 1e-3
