from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from extd.training.augmentation import (
    Square,
    anchor_sampled_square,
    augment,
    cut,
    distort,
    random_square,
)
from extd.training.recipe import Augmentation

NONE = np.zeros((0, 4), np.float32)
PLAIN = Augmentation(crop=128, color=False, horizontal_flip=0)


def marked(width: int, height: int, box: list[int]) -> np.ndarray:
    """A dark picture whose face is white."""
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


boxes = st.tuples(
    st.integers(0, 250), st.integers(0, 150), st.integers(20, 90), st.integers(20, 90)
).map(lambda b: [b[0], b[1], min(b[0] + b[2], 300), min(b[1] + b[3], 200)])


@settings(max_examples=60)
@given(boxes, st.integers(0, 2**32), st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.floats(0, 1))
def test_boxes_follow_the_pixels(
    box: list[int], seed: int, sampling: float, horizontal: float, vertical: float
) -> None:
    settings = Augmentation(
        crop=128,
        anchor_sampling=sampling,
        color=False,
        horizontal_flip=round(horizontal),
        vertical_flip=round(vertical),
        min_face=0,
    )
    image = marked(300, 200, box)
    crop = augment(image, np.float32([box]), NONE, settings, np.random.default_rng(seed))
    assert crop.image.shape == (128, 128, 3)
    assume(len(crop.boxes))
    expected = np.clip(crop.boxes[0], 0, 128)
    assume((expected[2:] - expected[:2]).min() >= 8)
    # The padding is brighter than the ground but darker than the face.
    x, y, width, height = cv2.boundingRect((crop.image[..., 0] > 190).astype(np.uint8))
    assert np.abs([x, y, x + width, y + height] - expected).max() <= 2


@given(boxes, st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_crop(box: list[int], seed: int) -> None:
    image = marked(300, 200, box)
    first, second = (
        augment(image, np.float32([box]), NONE, Augmentation(128), np.random.default_rng(seed))
        for _ in range(2)
    )
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.boxes, second.boxes)


@given(boxes, st.integers(0, 2**32))
def test_anchor_sampling_keeps_the_face_and_aims_at_an_anchor(box: list[int], seed: int) -> None:
    square = anchor_sampled_square(np.float32([box]), 640, np.random.default_rng(seed))
    width, height = box[2] - box[0], box[3] - box[1]
    size = (width * height) ** 0.5 * 640 / square.side
    assert 8 * 0.95 <= size <= 512 * 2 * 1.1
    # Squares begin on whole pixels.
    if max(width, height) <= square.side:
        assert square.left <= box[0] + 0.5
        assert box[2] <= square.left + square.side + 0.5
        assert square.top <= box[1] + 0.5
        assert box[3] <= square.top + square.side + 0.5


@given(boxes, st.integers(0, 2**32))
def test_a_random_square_lies_inside_and_covers_the_face_or_is_whole(
    box: list[int], seed: int
) -> None:
    square = random_square(np.float32([box]), 300, 200, PLAIN, np.random.default_rng(seed))
    assert 0.3 * 200 <= square.side <= 200
    assert 0 <= square.left <= 300 - square.side
    assert 0 <= square.top <= 200 - square.side
    covers = (
        square.left <= box[0]
        and square.top <= box[1]
        and box[2] <= square.left + square.side
        and box[3] <= square.top + square.side
    )
    assert covers or square.side == 200


def test_tiny_faces_are_ignored_and_faces_centred_outside_dropped() -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    faces = np.float32([[30, 30, 60, 60], [100, 100, 104, 104]])
    settings = Augmentation(128, anchor_sampling=0, whole=1, color=False, horizontal_flip=0)
    crop = augment(image, faces, NONE, settings, np.random.default_rng(0))
    assert crop.boxes.tolist() == [[30, 30, 60, 60]]
    assert crop.ignore.tolist() == [[100, 100, 104, 104]]
    far = np.float32([[30, 30, 60, 60], [200, 30, 230, 60]])
    wide = np.zeros((128, 300, 3), np.uint8)
    for seed in range(20):
        crop = augment(wide, far, NONE, settings, np.random.default_rng(seed))
        centres = (crop.boxes[:, :2] + crop.boxes[:, 2:]) / 2
        assert ((centres > 0) & (centres < 128)).all()


@pytest.mark.parametrize("square", [Square(-500, -500, 100), Square(-50, -80, 400)])
@pytest.mark.parametrize("color", [False, True])
def test_beyond_the_picture_is_the_mean_colour(square: Square, color: bool) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    settings = Augmentation(crop=128, color=color)
    for seed in range(8):
        pixels = cut(image, square, settings, np.random.default_rng(seed))
        assert pixels.shape == (128, 128, 3)
        assert pixels[0, 0].tolist() == [123, 117, 104]
        assert pixels[-1, -1].tolist() == [123, 117, 104]


def test_a_square_of_one_pixel_fills_the_crop() -> None:
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    pixels = cut(image, Square(9, 4, 1), PLAIN, np.random.default_rng(0))
    assert (pixels == image[4, 9]).all()


def test_distortion_changes_colours_and_never_the_argument() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    before = image.copy()
    results = [distort(image, np.random.default_rng(seed)) for seed in range(16)]
    assert np.array_equal(image, before)
    assert len({result.tobytes() for result in results}) > 10
    grey = np.full((8, 8, 3), 128, np.uint8)
    for seed in range(16):
        result = distort(grey, np.random.default_rng(seed))
        assert np.ptp(result.astype(int), axis=2).max() <= 1  # grey has no hue to turn
