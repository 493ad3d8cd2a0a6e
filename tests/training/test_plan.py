from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.data.sample import Sample
from extd.training.plan import (
    INTERPOLATIONS,
    UNCHANGED,
    Square,
    anchor_sampled_square,
    crop_size,
    draw,
    random_square,
    size_sampled_square,
    unscaled_square,
    zoomed_out_square,
)
from extd.training.recipe import Augmentation, Recipe

NONE = np.zeros((0, 4), np.float32)
PICTURES = [
    Sample(Path("none.jpg"), 300, 200, NONE, NONE),
    Sample(Path("one.jpg"), 300, 200, np.float32([[30, 40, 70, 90]]), NONE),
    Sample(Path("two.jpg"), 200, 300, np.float32([[9, 9, 20, 20], [100, 200, 180, 290]]), NONE),
]
SHARES = np.array([0.0, 0.25, 1.0])

boxes = st.tuples(
    st.integers(0, 250), st.integers(0, 150), st.integers(20, 90), st.integers(20, 90)
).map(lambda b: [b[0], b[1], min(b[0] + b[2], 300), min(b[1] + b[3], 200)])


def holds(square: Square, box: list[int]) -> bool:
    return (
        square.left <= box[0]
        and square.top <= box[1]
        and box[2] <= square.left + square.side
        and box[3] <= square.top + square.side
    )


def test_a_plan_depends_on_the_generator_alone() -> None:
    settings = Augmentation(vertical_flip=0.5)
    plans = [
        [draw(PICTURES, SHARES, 320, settings, np.random.default_rng(seed)) for seed in range(50)]
        for _ in range(2)
    ]
    assert plans[0] == plans[1]
    assert len(set(plans[0])) == 50


def test_every_choice_is_made_as_often_as_the_settings_say() -> None:
    settings = Augmentation(anchor_sampling=0, whole=0.3, horizontal_flip=0.5, vertical_flip=0.1)
    rng = np.random.default_rng(0)
    plans = [draw(PICTURES, SHARES, 320, settings, rng) for _ in range(4000)]
    for expected, happened in (
        (0.0, [plan.picture == 0 for plan in plans]),
        (0.25, [plan.picture == 1 for plan in plans]),
        (0.5, [plan.horizontal_flip for plan in plans]),
        (0.1, [plan.vertical_flip for plan in plans]),
        *((0.2, [plan.interpolation == name for plan in plans]) for name in INTERPOLATIONS),
        *((0.5, [plan.color[part] == UNCHANGED[part] for plan in plans]) for part in range(5)),
    ):
        assert np.mean(happened) == pytest.approx(expected, abs=0.03)
    colors = np.array([plan.color for plan in plans])
    assert np.allclose(colors.min(0)[:4], [-31.9, 0.5, 0.5, -18], atol=0.1)
    assert np.allclose(colors.max(0)[:4], [31.9, 1.5, 1.5, 18], atol=0.1)


def test_without_colour_none_is_changed() -> None:
    settings = Augmentation(color=False)
    rng = np.random.default_rng(0)
    assert all(draw(PICTURES, SHARES, 320, settings, rng).color == UNCHANGED for _ in range(20))


@given(boxes, st.integers(0, 2**32))
def test_anchor_sampling_keeps_the_face_and_aims_at_an_anchor(box: list[int], seed: int) -> None:
    square = anchor_sampled_square(np.float32([box]), 640, np.random.default_rng(seed))
    width, height = box[2] - box[0], box[3] - box[1]
    size = (width * height) ** 0.5 * 640 / square.side
    assert 8 * 0.95 <= size <= 512 * 2 * 1.1
    if max(width, height) <= square.side:
        assert holds(square, box)


@given(boxes, st.integers(0, 2**32), st.sampled_from([192, 640]), st.sampled_from([2.0, 5.0]))
def test_size_sampling_keeps_the_face_between_its_sizes(
    box: list[int], seed: int, crop: int, most: float
) -> None:
    settings = Augmentation(most_enlarged=most)
    square = size_sampled_square(np.float32([box]), crop, settings, np.random.default_rng(seed))
    width, height = box[2] - box[0], box[3] - box[1]
    scale = crop / square.side
    assert scale <= most * 1.02
    assert (width * height) ** 0.5 * scale <= 0.81 * crop
    assert (width * height) ** 0.5 * scale >= 9.9
    if max(width, height) <= square.side:
        assert holds(square, box)


def test_sampled_sizes_are_spread_over_orders_of_magnitude() -> None:
    rng = np.random.default_rng(0)
    face = np.float32([[0, 0, 1000, 1000]])
    settings = Augmentation(face_sizes=(8.0, 1.0))
    sides = [size_sampled_square(face, 640, settings, rng).side for _ in range(2000)]
    sizes = np.log2(640 * 1000 / np.array(sides))
    assert np.histogram(sizes, bins=4, range=(3, np.log2(640)))[0] == pytest.approx(500, rel=0.15)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 2**32))
def test_a_zoomed_out_square_holds_the_picture(width: int, height: int, seed: int) -> None:
    square = zoomed_out_square(width, height, np.random.default_rng(seed))
    assert holds(square, [0, 0, width, height])
    assert square.side <= 2 * max(width, height) + 1


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 2**32))
def test_an_unscaled_square_lies_inside_or_holds_the_picture(
    width: int, height: int, seed: int
) -> None:
    square = unscaled_square(width, height, 512, np.random.default_rng(seed))
    assert square.side == 512
    for begin, length in ((square.left, width), (square.top, height)):
        low, high = sorted((0, length - 512))
        assert low <= begin <= high


def test_the_kinds_of_crops_come_as_often_as_the_settings_say() -> None:
    settings = Augmentation(
        anchor_sampling=0,
        size_sampling=0.2,
        zoom_out=0.4,
        unscaled=0.1,
        face_sizes=(200.0, 0.8),
    )
    rng = np.random.default_rng(0)
    picture = [Sample(Path("wide.jpg"), 900, 100, np.float32([[400, 20, 440, 60]]), NONE)]
    squares = [draw(picture, np.ones(1), 640, settings, rng).square for _ in range(4000)]
    assert np.mean([s.side >= 900 for s in squares]) == pytest.approx(0.4, abs=0.03)
    assert np.mean([s.side == 320 for s in squares]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([s.side == 640 for s in squares]) == pytest.approx(0.1, abs=0.02)
    inside = [s.side <= 100 and 0 <= s.top <= 100 - s.side for s in squares]
    assert np.mean(inside) == pytest.approx(0.3, abs=0.03)


@given(boxes, st.integers(0, 2**32))
def test_a_random_square_lies_inside_and_covers_the_face_or_is_whole(
    box: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    square = random_square(np.float32([box]), 300, 200, Augmentation(), rng)
    assert 0.3 * 200 <= square.side <= 200
    assert 0 <= square.left <= 300 - square.side
    assert 0 <= square.top <= 200 - square.side
    assert holds(square, box) or square.side == 200


def slow_square(faces: list[list[int]], settings: Augmentation, rng: np.random.Generator) -> Square:
    """One try after the other in a picture of 300 x 200 px."""
    for _ in range(50):
        share = 1.0 if rng.random() < settings.whole else rng.uniform(*settings.square)
        side = round(200 * share)
        square = Square(int(rng.integers(301 - side)), int(rng.integers(201 - side)), side)
        if any(holds(square, face) for face in faces):
            return square
    face = faces[rng.integers(len(faces))]
    return Square(int(np.clip((face[0] + face[2]) / 2 - 100, 0, 100)), 0, 200)


@pytest.mark.parametrize(
    ("faces", "settings"),
    [
        ([[40, 60, 130, 150]], Augmentation(whole=0.1)),
        # Of 50 tries, all fail in every third picture.
        ([[40, 60, 180, 80]], Augmentation(whole=0, square=(0.3, 0.8))),
        ([[0, 0, 9, 9], [290, 190, 299, 199]], Augmentation(whole=0.1)),
    ],
)
def test_squares_tried_together_are_distributed_as_those_tried_in_turn(
    faces: list[list[int]], settings: Augmentation
) -> None:
    rng = np.random.default_rng(0)
    fast = [random_square(np.float32(faces), 300, 200, settings, rng) for _ in range(2000)]
    slow = [slow_square(faces, settings, rng) for _ in range(2000)]
    # Left, top and side lie between 0 and 200; five standard errors are less than 8 and 2000.
    assert np.abs(np.mean(fast, 0) - np.mean(slow, 0)).max() <= 8
    assert np.abs(np.square(fast).mean(0) - np.square(slow).mean(0)).max() <= 2000


def test_a_face_that_no_square_holds_gets_the_whole_short_side() -> None:
    wide = np.float32([[20, 50, 260, 100]])
    square = random_square(wide, 300, 200, Augmentation(), np.random.default_rng(0))
    assert square == (40, 0, 200)


def test_growing_crops_take_one_size_after_the_other(recipe: Recipe) -> None:
    crops = Augmentation(crops=(128, 256, 256, 384), crop_order="growing")
    recipe = dataclasses.replace(recipe, iterations=10, augmentation=crops)
    sizes = [crop_size(recipe, step) for step in range(10)]
    assert sizes == [128] * 3 + [256] * 5 + [384] * 2


def test_sizes_of_crops_come_equally_often_and_go_with_the_step(recipe: Recipe) -> None:
    sizes = (128, 256, 384)
    recipe = dataclasses.replace(recipe, augmentation=Augmentation(crops=sizes))
    drawn = [crop_size(recipe, step) for step in range(900)]
    assert drawn == [crop_size(recipe, step) for step in range(900)]
    assert all(drawn.count(size) == pytest.approx(300, abs=45) for size in sizes)
    # What is drawn for the first crop of a step must not go along with the step's size.
    first = [np.random.default_rng((recipe.seed, step, 0)).random() for step in range(900)]
    assert abs(np.corrcoef(drawn, first)[0, 1]) < 0.1
