from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.data.sample import Sample
from extd.training.augmentation import (
    INTERPOLATIONS,
    UNCHANGED,
    Color,
    CropParams,
    Square,
    anchor_sampled_square,
    crop_labels,
    crop_size,
    cut,
    distort,
    random_square,
    sample_color,
    sample_crop,
    size_sampled_square,
)
from extd.training.recipe import Augmentation, Recipe

NONE = np.zeros((0, 4), np.float32)
Change = Callable[..., Recipe]


def image(faces: list[list[float]], ignore: list[list[float]]) -> Sample:
    boxes = (np.array(each, np.float32).reshape(-1, 4) for each in (faces, ignore))
    return Sample(Path("a.jpg"), 300, 200, *boxes)


@pytest.mark.parametrize("square", [Square(-500, -500, 100), Square(-50, -80, 400)])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_beyond_the_picture_is_the_mean_color(square: Square, interpolation: int) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    color = Color(brightness=20, contrast=1.5, saturation=0.5, hue=10)
    crop = cut(image, CropParams(0, square, 128, interpolation, color))
    assert crop.shape == (128, 128, 3)
    assert crop[0, 0].tolist() == [123, 117, 104]
    assert crop[-1, -1].tolist() == [123, 117, 104]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_square_of_one_pixel_fills_the_crop(interpolation: int) -> None:
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    crop = cut(image, CropParams(0, Square(9, 4, 1), 128, interpolation))
    assert (crop == image[4, 9]).all()


def test_flips_mirror_the_crop() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    square = Square(250, 90, 128)
    plain = cut(image, CropParams(0, square, 128))
    mirrored = cut(image, CropParams(0, square, 128, horizontal_flip=True))
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert np.array_equal(cut(image, CropParams(0, square, 128, vertical_flip=True)), plain[::-1])


def test_distortion_changes_colors_and_never_the_argument() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    before = image.copy()
    colors = [sample_color(np.random.default_rng(seed)) for seed in range(16)]
    results = [distort(image, color) for color in colors]
    assert np.array_equal(image, before)
    assert len({result.tobytes() for result in results}) > 10
    grey = np.full((8, 8, 3), 128, np.uint8)
    for color in colors:
        result = distort(grey, color)
        assert np.ptp(result.astype(int), axis=2).max() <= 1  # grey has no hue to turn


def test_dark_crops_come_as_often_as_asked() -> None:
    factors = []
    for seed in range(400):
        plain = sample_color(np.random.default_rng(seed))
        color = sample_color(np.random.default_rng(seed), dark_prob=0.3)
        assert color == plain._replace(contrast=color.contrast)
        factors += [color.contrast / plain.contrast] * (color != plain)
    assert len(factors) == pytest.approx(120, abs=30)
    assert 0.1 <= min(factors) < 0.15
    assert 0.45 < max(factors) <= 0.5


def test_each_color_change_does_what_its_name_says() -> None:
    red = np.full((1, 1, 3), (200, 40, 40), np.uint8)
    for color, expected in (
        (Color(brightness=20), (220, 60, 60)),
        (Color(contrast=0.5), (100, 20, 20)),
        (Color(saturation=0.5), (200, 120, 120)),
        (Color(saturation=1.5), (200, 0, 0)),
        (Color(hue=18), (200, 88, 40)),
        (Color(hue=-18), (200, 40, 88)),
        (Color(brightness=31, contrast=1.5, saturation=0.5), (255, 227, 227)),
        (Color(brightness=31, contrast=1.5, saturation=0.5, contrast_first=True), (255, 181, 181)),
    ):
        assert np.abs(distort(red, color)[0, 0].astype(int) - expected).max() <= 4, color


def slow_label(
    params: CropParams, shown: Sample, min_face: float
) -> tuple[list[list[float]], list[list[float]]]:
    """Faces and ignored regions of one crop, box by box."""
    size, scale = params.size, params.size / params.square.side

    def moved(box: list[float]) -> list[float]:
        x1, x2 = ((x - params.square.left) * scale for x in box[::2])
        y1, y2 = ((y - params.square.top) * scale for y in box[1::2])
        if params.horizontal_flip:
            x1, x2 = size - x2, size - x1
        if params.vertical_flip:
            y1, y2 = size - y2, size - y1
        return [x1, y1, x2, y2]

    faces: list[list[float]] = []
    ignore: list[list[float]] = []
    candidates = [moved(box) for box in shown.ignore.tolist()]
    for x1, y1, x2, y2 in map(moved, shown.boxes.tolist()):
        if 0 < (x1 + x2) / 2 < size and 0 < (y1 + y2) / 2 < size:
            tiny = min(x2 - x1, y2 - y1) < min_face
            (candidates if tiny else faces).append([x1, y1, x2, y2])
    for x1, y1, x2, y2 in candidates:
        if x1 < size and y1 < size and x2 > 0 and y2 > 0:
            ignore.append([x1, y1, x2, y2])
    return faces, ignore


def box_lists() -> st.SearchStrategy[list[list[float]]]:
    place, side = st.integers(-20, 280), st.integers(1, 120)
    box = st.tuples(place, place, side, side).map(
        lambda b: [float(v) for v in (b[0], b[1], b[0] + b[2], b[1] + b[3])]
    )
    return st.lists(box, max_size=11)


crops = st.tuples(
    st.builds(image, box_lists(), box_lists()),
    st.builds(Square, st.integers(-200, 250), st.integers(-200, 150), st.integers(1, 400)),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(crops, min_size=1, max_size=4), st.sampled_from([0.0, 6.0, 30.0]))
def test_the_boxes_of_a_batch_are_those_of_each_crop(
    batch: list[tuple[Sample, Square, bool, bool]], min_face: float
) -> None:
    images = [shown for shown, *_ in batch]
    crops = [
        CropParams(i, square, 128, horizontal_flip=mirrored, vertical_flip=turned)
        for i, (_, square, mirrored, turned) in enumerate(batch)
    ]
    labels = crop_labels(crops, images, min_face)
    assert labels.faces.shape == (*labels.real.shape, 4)
    assert labels.ignore.shape == (*labels.ignore_real.shape, 4)
    assert labels.real.shape[1] % 8 == 0
    assert labels.real.shape[1] >= 8
    assert not labels.faces[~labels.real].any()
    for i, params in enumerate(crops):
        faces, ignore = slow_label(params, images[i], min_face)
        for found, expected in (
            (labels.faces[i][labels.real[i]].numpy(), faces),
            (labels.ignore[i][labels.ignore_real[i]].numpy(), ignore),
        ):
            assert found.shape == (len(expected), 4)
            assert np.allclose(found, np.array(expected).reshape(-1, 4), rtol=1e-5, atol=1e-3)


def test_boxes_that_lie_too_far_left_do_so_mirrored_as_well() -> None:
    """The face covers x = 30 to 60, but is labeled half a pixel too far left."""
    shown = image([[29.5, 30, 59.5, 60]], [])
    mirrored = CropParams(0, Square(0, 0, 128), 256, horizontal_flip=True, flip_shift=1.0)
    labels = crop_labels([mirrored], [shown], 6)
    # Mirrored and twice as large it covers x = 136 to 196, and half an image pixel is one.
    assert labels.faces[labels.real].tolist() == [[135, 60, 195, 120]]


def test_tiny_faces_are_ignored_and_faces_centred_outside_dropped() -> None:
    shown = image([[30, 30, 60, 60], [100, 100, 104, 104], [120, 30, 150, 60]], [])
    labels = crop_labels([CropParams(0, Square(0, 0, 128), 128)], [shown], 6)
    assert labels.faces[labels.real].tolist() == [[30, 30, 60, 60]]
    assert labels.ignore[labels.ignore_real].tolist() == [[100, 100, 104, 104]]


@given(crops)
def test_landmarks_move_with_their_faces(crop: tuple[Sample, Square, bool, bool]) -> None:
    """Eyes and mouth corners at the corners of the box, the nose in its middle."""
    shown, square, mirrored, turned = crop
    x1, y1, x2, y2 = shown.boxes.T
    middle = (x1 + x2) / 2, (y1 + y2) / 2
    points = np.stack([x1, y1, x2, y1, *middle, x1, y2, x2, y2], 1)
    known = dataclasses.replace(shown, landmarks=points.astype(np.float32))
    params = CropParams(0, square, 128, horizontal_flip=mirrored, vertical_flip=turned)
    labels = crop_labels([params], [known], 0)
    x1, y1, x2, y2 = labels.faces[labels.real].numpy().T
    top, bottom = (y2, y1) if turned else (y1, y2)
    middle = (x1 + x2) / 2, (y1 + y2) / 2
    wanted = np.stack([x1, top, x2, top, *middle, x1, bottom, x2, bottom], 1)
    assert np.allclose(labels.landmarks[labels.real].numpy(), wanted, rtol=1e-5, atol=1e-3)
    unknown = crop_labels([params], [shown], 0)
    assert unknown.landmarks[unknown.real].isnan().all()


SAMPLES = [
    Sample(Path("none.jpg"), 300, 200, NONE, NONE),
    Sample(Path("one.jpg"), 300, 200, np.float32([[30, 40, 70, 90]]), NONE),
    Sample(Path("two.jpg"), 200, 300, np.float32([[9, 9, 20, 20], [100, 200, 180, 290]]), NONE),
]
SHARES = np.array([0.0, 0.25, 1.0])

boxes = st.tuples(
    st.integers(0, 250), st.integers(0, 150), st.integers(20, 90), st.integers(20, 90)
).map(lambda b: [b[0], b[1], min(b[0] + b[2], 300), min(b[1] + b[3], 200)])


def with_faces(faces: list[list[int]]) -> Sample:
    return Sample(Path("a.jpg"), 300, 200, np.array(faces, np.float32), NONE)


def holds(square: Square, box: list[int]) -> bool:
    return (
        square.left <= box[0]
        and square.top <= box[1]
        and box[2] <= square.left + square.side
        and box[3] <= square.top + square.side
    )


def test_a_crop_depends_on_the_generator_alone() -> None:
    settings = Augmentation(vertical_flip_prob=0.5)
    crops = [
        [
            sample_crop(SAMPLES, SHARES, 320, settings, np.random.default_rng(seed))
            for seed in range(50)
        ]
        for _ in range(2)
    ]
    assert crops[0] == crops[1]
    assert len(set(crops[0])) == 50


def test_every_choice_is_made_as_often_as_the_settings_say() -> None:
    settings = Augmentation(
        anchor_sampling_prob=0, full_side_prob=0.3, horizontal_flip_prob=0.5, vertical_flip_prob=0.1
    )
    rng = np.random.default_rng(0)
    crops = [sample_crop(SAMPLES, SHARES, 320, settings, rng) for _ in range(2000)]
    for expected, happened in (
        (0.0, [crop.image == 0 for crop in crops]),
        (0.25, [crop.image == 1 for crop in crops]),
        (0.5, [crop.horizontal_flip for crop in crops]),
        (0.1, [crop.vertical_flip for crop in crops]),
        *((0.2, [crop.interpolation == name for crop in crops]) for name in INTERPOLATIONS),
        *((0.5, [crop.color[part] == UNCHANGED[part] for crop in crops]) for part in range(5)),
    ):
        assert np.mean(happened) == pytest.approx(expected, abs=0.045)
    colors = np.array([crop.color for crop in crops])
    assert np.allclose(colors.min(0)[:4], [-31.9, 0.5, 0.5, -18], atol=0.1)
    assert np.allclose(colors.max(0)[:4], [31.9, 1.5, 1.5, 18], atol=0.1)


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
    settings = Augmentation(max_upscale=most)
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


def square_of(width: int, height: int, seed: int, **probability: float) -> Square:
    sample = Sample(Path("a.jpg"), width, height, np.float32([[0, 0, 1, 1]]), NONE)
    settings = Augmentation(anchor_sampling_prob=0, **probability)
    return sample_crop([sample], np.ones(1), 512, settings, np.random.default_rng(seed)).square


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 2**32))
def test_a_zoomed_out_square_holds_the_image(width: int, height: int, seed: int) -> None:
    square = square_of(width, height, seed, zoom_out_prob=1)
    assert holds(square, [0, 0, width, height])
    assert square.side <= 2 * max(width, height) + 1


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 2**32))
def test_a_square_of_native_scale_lies_inside_or_holds_the_image(
    width: int, height: int, seed: int
) -> None:
    square = square_of(width, height, seed, native_scale_prob=1)
    assert square.side == 512
    for begin, length in ((square.left, width), (square.top, height)):
        low, high = sorted((0, length - 512))
        assert low <= begin <= high


def test_squares_of_small_images_are_enlarged_as_far_as_asked() -> None:
    sides = [
        square_of(300, 400, seed, native_scale_prob=1, native_longest=1000).side
        for seed in range(200)
    ]
    assert 205 <= min(sides) <= 215  # 512 / 2.5
    assert 500 <= max(sides) <= 512
    large = square_of(1200, 400, 0, native_scale_prob=1, native_longest=1000)
    assert large.side == 512


def test_the_kinds_of_crops_come_as_often_as_the_settings_say() -> None:
    settings = Augmentation(
        anchor_sampling_prob=0,
        size_sampling_prob=0.2,
        zoom_out_prob=0.4,
        native_scale_prob=0.1,
        face_sizes=(200.0, 0.8),
    )
    rng = np.random.default_rng(0)
    image = [Sample(Path("wide.jpg"), 900, 100, np.float32([[400, 20, 440, 60]]), NONE)]
    squares = [sample_crop(image, np.ones(1), 640, settings, rng).square for _ in range(2000)]
    assert np.mean([s.side >= 900 for s in squares]) == pytest.approx(0.4, abs=0.045)
    assert np.mean([s.side == 320 for s in squares]) == pytest.approx(0.2, abs=0.045)
    assert np.mean([s.side == 640 for s in squares]) == pytest.approx(0.1, abs=0.02)
    inside = [s.side <= 100 and 0 <= s.top <= 100 - s.side for s in squares]
    assert np.mean(inside) == pytest.approx(0.3, abs=0.045)


@given(boxes, st.integers(0, 2**32))
def test_a_random_square_lies_inside_and_covers_the_face_or_is_whole(
    box: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    square = random_square(with_faces([box]), Augmentation(), rng)
    assert 0.3 * 200 <= square.side <= 200
    assert 0 <= square.left <= 300 - square.side
    assert 0 <= square.top <= 200 - square.side
    assert holds(square, box) or square.side == 200


def slow_square(faces: list[list[int]], settings: Augmentation, rng: np.random.Generator) -> Square:
    """One try after the other in an image of 300 x 200 px."""
    for _ in range(50):
        share = (
            1.0 if rng.random() < settings.full_side_prob else rng.uniform(*settings.square_range)
        )
        side = round(200 * share)
        square = Square(int(rng.integers(301 - side)), int(rng.integers(201 - side)), side)
        if any(holds(square, face) for face in faces):
            return square
    face = faces[rng.integers(len(faces))]
    return Square(int(np.clip((face[0] + face[2]) / 2 - 100, 0, 100)), 0, 200)


@pytest.mark.parametrize(
    ("faces", "settings"),
    [
        ([[40, 60, 130, 150]], Augmentation(full_side_prob=0.1)),
        # Of 50 tries, all fail in every third image.
        ([[40, 60, 180, 80]], Augmentation(full_side_prob=0, square_range=(0.3, 0.8))),
        ([[0, 0, 9, 9], [290, 190, 299, 199]], Augmentation(full_side_prob=0.1)),
    ],
)
def test_squares_tried_together_are_distributed_as_those_tried_in_turn(
    faces: list[list[int]], settings: Augmentation
) -> None:
    rng = np.random.default_rng(0)
    fast = [random_square(with_faces(faces), settings, rng) for _ in range(2000)]
    slow = [slow_square(faces, settings, rng) for _ in range(2000)]
    # Left, top and side lie between 0 and 200; five standard errors are less than 8 and 2000.
    assert np.abs(np.mean(fast, 0) - np.mean(slow, 0)).max() <= 8
    assert np.abs(np.square(fast).mean(0) - np.square(slow).mean(0)).max() <= 2000


def test_a_face_that_no_square_holds_gets_the_whole_short_side() -> None:
    wide = with_faces([[20, 50, 260, 100]])
    square = random_square(wide, Augmentation(), np.random.default_rng(0))
    assert square == (40, 0, 200)


def test_growing_crops_take_one_size_after_the_other(recipe: Recipe, change: Change) -> None:
    growing = {"crop_sizes": (128, 256, 256, 384), "crop_order": "growing"}
    recipe = change(recipe, iterations=10, augmentation=growing)
    sizes = [crop_size(recipe, step) for step in range(10)]
    assert sizes == [128] * 3 + [256] * 5 + [384] * 2


def test_sizes_of_crops_come_equally_often(recipe: Recipe, change: Change) -> None:
    sizes = (128, 256, 384)
    recipe = change(recipe, augmentation={"crop_sizes": sizes})
    drawn = [crop_size(recipe, step) for step in range(900)]
    assert drawn == [crop_size(recipe, step) for step in range(900)]
    assert all(drawn.count(size) == pytest.approx(300, abs=45) for size in sizes)
    # What is drawn for the first crop of a step must not go along with the step's size.
    first = [np.random.default_rng((recipe.seed, step, 0)).random() for step in range(900)]
    assert abs(np.corrcoef(drawn, first)[0, 1]) < 0.1
