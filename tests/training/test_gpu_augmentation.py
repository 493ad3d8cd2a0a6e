from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from extd.data.sample import Sample
from extd.images import read_image
from extd.pixels import Image
from extd.training import augmentation, gpu_augmentation
from extd.training.augmentation import (
    UNCHANGED,
    Color,
    CropParams,
    Square,
    crop_labels,
    cut,
    sample_color,
    sample_crop,
)
from extd.training.gpu_augmentation import LEVELS, Pyramids, cut_batch, upload
from extd.training.image_cache import ImageCache
from extd.training.recipe import Augmentation

CPU = torch.device("cpu")
NONE = np.zeros((0, 4), np.float32)
FACES = {
    "astronaut": [[175, 55, 285, 205]],
    "grace_hopper": [[200, 50, 340, 240]],
    "solvay_1927": [[100, 100, 140, 150], [300, 200, 330, 240], [600, 300, 640, 350]],
}


def stored(images: Sequence[Image], faces: Sequence[Sequence[Sequence[float]]] = ()) -> ImageCache:
    """A cache of images that are in memory."""
    samples = []
    for i, image in enumerate(images):
        boxes = np.array(faces[i], np.float32) if faces else NONE
        samples.append(Sample(Path(f"{i}.png"), image.shape[1], image.shape[0], boxes, NONE))
    offsets = [0, *np.cumsum([image.size for image in images]).tolist()]
    shares = np.linspace(0, 1, len(images) + 1)[1:]
    return ImageCache(samples, shares, np.concatenate([i.ravel() for i in images]), offsets, [])


@pytest.fixture(scope="module")
def natural(examples: Path) -> ImageCache:
    images = [read_image(examples / f"{name}.jpg") for name in FACES]
    return stored(images, list(FACES.values()))


def by_opencv(store: ImageCache, params: CropParams) -> NDArray[np.float64]:
    return cut(store.pixels(params.image), params).astype(np.float64)


def by_device(pyramids: Pyramids, crops: list[CropParams]) -> NDArray[np.float64]:
    return cut_batch(pyramids, crops).permute(0, 2, 3, 1).numpy().astype(np.float64)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4))
def test_each_level_is_the_mean_of_blocks(sizes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (height, width, 3), np.uint8) for width, height in sizes]
    pyramids = upload(stored(images), CPU)
    for image, begins in zip(images, pyramids.begins, strict=True):
        for level in range(LEVELS):
            side = 2**level
            rows, columns = (-(-length // side) for length in image.shape[:2])
            found = pyramids.pixels[begins[level] : begins[level] + rows * columns]
            # A row or column without a partner is its own mean.
            padded = image.astype(np.float64)
            for _ in range(level):
                odd = [(0, length % 2) for length in padded.shape[:2]]
                padded = np.pad(padded, [*odd, (0, 0)], mode="edge")
                padded = (padded[::2] + padded[1::2]) / 2
                padded = (padded[:, ::2] + padded[:, 1::2]) / 2
            assert np.abs(found.numpy().reshape(rows, columns, 3) - padded).max() <= 0.51


def edges(profile: NDArray[np.float64], middle: float) -> list[float]:
    """Where the profile crosses a value, px; the center of px i is at i + 0.5."""
    above = profile > middle
    (places,) = np.nonzero(above[1:] != above[:-1])
    return [i + 0.5 + (middle - profile[i]) / (profile[i + 1] - profile[i]) for i in places]


def nearest_crop(square: Square, size: int, mirrored: bool, turned: bool) -> CropParams:
    """With the interpolation that the device has: linear to enlarge, else area."""
    interpolation = cv2.INTER_LINEAR if square.side <= size else cv2.INTER_AREA
    return CropParams(0, square, size, interpolation, UNCHANGED, mirrored, turned)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(10, 230), st.integers(10, 130), st.integers(20, 60), st.integers(20, 60)),
    st.floats(0.2, 10),
    st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["opencv", "device"]),
)
def test_edges_of_a_painted_rectangle_lie_at_its_box(
    place: tuple[int, int, int, int],
    zoom: float,
    center: tuple[float, float],
    mirrored: bool,
    turned: bool,
    path: str,
) -> None:
    """Its center lies at a share of the square, which is larger than it by a factor."""
    size = 128
    x, y, width, height = place
    # On the mean color, so that the border of the image is no edge.
    image = np.full((200, 300, 3), (123, 117, 104), np.uint8)
    image[y : y + height, x : x + width] = 255
    side = round(zoom * max(width, height))
    left = round(x + width / 2 - center[0] * side)
    top = round(y + height / 2 - center[1] * side)
    store = stored([image], [[[x, y, x + width, y + height]]])
    params = nearest_crop(Square(left, top, side), size, mirrored, turned)
    pyramids = upload(store, CPU)
    crop = by_opencv(store, params) if path == "opencv" else by_device(pyramids, [params])[0]
    labels = crop_labels([params], store.samples, 0)
    assert labels.real.sum() == 1
    box = labels.faces[0, 0].numpy()
    # OpenCV resizes to whole px of the crop, which moves the borders of the image by up to half.
    beyond = left < 0 or top < 0 or left + side > 300 or top + side > 200
    tolerance = 1.0 if beyond and path == "opencv" else 0.5
    column, row = ((box[:2].clip(0) + box[2:].clip(max=size)) / 2).astype(int)
    for profile, ends in ((crop[row, :, 0], box[::2]), (crop[:, column, 0], box[1::2])):
        if min(abs(end - border) for end in ends for border in (0, size)) < 2:
            continue  # an edge at the border of the crop is not seen well
        visible = [end for end in ends if 0 < end < size]
        found = edges(profile, (123 + 255) / 2)
        assert len(found) == len(visible)
        assert np.abs(np.subtract(found, visible)).max(initial=0) <= tolerance + 1e-3


@pytest.mark.parametrize("name", range(3))
def test_crops_of_photographs_equal_opencv(natural: ImageCache, name: int) -> None:
    """Tolerances are mean differences in steps of 256."""
    pyramids = upload(natural, CPU)
    rng = np.random.default_rng(name)
    image = natural.samples[name]
    short = min(image.width, image.height)
    for size in (96, 128, 320):
        for share in (0.1, 0.3, 0.7, 1.0):
            side = round(short * share)
            square = Square(
                int(rng.integers(image.width - side + 1)),
                int(rng.integers(image.height - side + 1)),
                side,
            )
            mirrored, turned = rng.random(2) < 0.5
            params = nearest_crop(square, size, bool(mirrored), bool(turned))
            params = dataclasses.replace(params, image=name)
            difference = np.abs(by_opencv(natural, params) - by_device(pyramids, [params])[0])
            if side <= size:
                # OpenCV repeats px at the border of the square; the device sees beyond it.
                edge = -(-size // (2 * side)) + 1
                assert difference[edge:-edge, edge:-edge].max() <= 1
                assert difference.mean() <= 0.6
            elif side < 2 * size:
                assert difference.max() <= 1
            else:
                # The square's px are shared out between px of the level as if these were even.
                assert difference.mean() <= 5


def test_a_batch_is_its_crops_one_by_one(natural: ImageCache) -> None:
    pyramids = upload(natural, CPU)
    chance = Augmentation(vertical_flip_prob=0.5)
    crops = [
        sample_crop(natural.samples, natural.shares, 96, chance, np.random.default_rng(seed))
        for seed in range(12)
    ]
    batch = cut_batch(pyramids, crops)
    assert batch.dtype == torch.uint8
    assert batch.shape == (12, 3, 96, 96)
    assert batch.is_contiguous()
    for i, params in enumerate(crops):
        assert torch.equal(batch[i], cut_batch(pyramids, [params])[0])


def test_drawn_crops_are_close_to_those_of_opencv(natural: ImageCache) -> None:
    """Colors, flips, squares beyond the image: all that a recipe can ask for."""
    pyramids = upload(natural, CPU)
    chance = Augmentation(vertical_flip_prob=0.5, anchor_sampling_prob=0.7)
    differences = []
    for seed in range(20):
        params = sample_crop(
            natural.samples, natural.shares, 128, chance, np.random.default_rng(seed)
        )
        interpolation = cv2.INTER_LINEAR if params.square.side <= 128 else cv2.INTER_AREA
        params = dataclasses.replace(params, interpolation=interpolation)
        pair = by_opencv(natural, params), by_device(pyramids, [params])[0]
        differences.append(np.abs(np.subtract(*pair)).mean())
    assert max(differences) <= 6
    assert np.mean(differences) <= 2


@pytest.mark.parametrize("square", [Square(-500, -500, 100), Square(-50, -80, 400)])
def test_beyond_the_image_is_the_mean_color(square: Square) -> None:
    pyramids = upload(stored([np.zeros((100, 100, 3), np.uint8)]), CPU)
    color = Color(brightness=20, contrast=1.5, saturation=0.5, hue=10)
    params = CropParams(0, square, 128, color=color)
    crop = by_device(pyramids, [params])[0]
    assert crop[0, 0].tolist() == [123, 117, 104]
    assert crop[-1, -1].tolist() == [123, 117, 104]
    # What is seen of the image in OpenCV's crop is seen here too.
    assert np.array_equal(
        crop == 123,
        cut(np.zeros((100, 100, 3), np.uint8), CropParams(0, square, 128, color=color)) == 123,
    )


def test_a_face_of_thousands_of_px_shrunk_to_a_few_stays_in_its_place() -> None:
    image = np.full((1500, 1500, 3), (123, 117, 104), np.uint8)
    image[:, 700:] = 255
    side = 128 * 2**LEVELS
    params = CropParams(0, Square(-side // 2, -side // 2, side), 128)
    crop = by_device(upload(stored([image]), CPU), [params])[0]
    assert (crop[64:69, 67:69] == 255).all()
    assert crop[:64].tolist() == np.full((64, 128, 3), (123, 117, 104)).tolist()


@pytest.mark.parametrize("color", [sample_color(np.random.default_rng(seed)) for seed in range(6)])
def test_colors_change_as_opencv_changes_them(color: Color) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    image[:8] = image[:8, :, :1]  # greys
    image[8:16, :, rng.integers(3)] = 255
    image[16:20] = 0
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    found = gpu_augmentation.distort(pixels, torch.tensor([color], dtype=torch.float64))
    expected = augmentation.distort(image, color).astype(np.float64)
    difference = np.abs(found[0].permute(1, 2, 0).numpy() - expected)
    # OpenCV goes through HSV of 8 bits.
    assert difference.max() <= 16
    assert difference.mean() <= 2
