from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.data.sample import Sample
from extd.training.augmentation import cut, distort, label
from extd.training.plan import INTERPOLATIONS, Color, Plan, Square, draw_color

NONE = np.zeros((0, 4), np.float32)


def picture(faces: list[list[float]], ignore: list[list[float]]) -> Sample:
    boxes = (np.array(each, np.float32).reshape(-1, 4) for each in (faces, ignore))
    return Sample(Path("a.jpg"), 300, 200, *boxes)


@pytest.mark.parametrize("square", [Square(-500, -500, 100), Square(-50, -80, 400)])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_beyond_the_picture_is_the_mean_colour(square: Square, interpolation: str) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    color = Color(brightness=20, contrast=1.5, saturation=0.5, hue=10)
    crop = cut(image, Plan(0, square, 128, interpolation, color))
    assert crop.shape == (128, 128, 3)
    assert crop[0, 0].tolist() == [123, 117, 104]
    assert crop[-1, -1].tolist() == [123, 117, 104]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_square_of_one_pixel_fills_the_crop(interpolation: str) -> None:
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    crop = cut(image, Plan(0, Square(9, 4, 1), 128, interpolation))
    assert (crop == image[4, 9]).all()


def test_flips_mirror_the_crop() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    square = Square(250, 90, 128)
    plain = cut(image, Plan(0, square, 128))
    assert np.array_equal(cut(image, Plan(0, square, 128, horizontal_flip=True)), plain[:, ::-1])
    assert np.array_equal(cut(image, Plan(0, square, 128, vertical_flip=True)), plain[::-1])


def test_distortion_changes_colours_and_never_the_argument() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    before = image.copy()
    colors = [draw_color(np.random.default_rng(seed)) for seed in range(16)]
    results = [distort(image, color) for color in colors]
    assert np.array_equal(image, before)
    assert len({result.tobytes() for result in results}) > 10
    grey = np.full((8, 8, 3), 128, np.uint8)
    for color in colors:
        result = distort(grey, color)
        assert np.ptp(result.astype(int), axis=2).max() <= 1  # grey has no hue to turn


def test_each_colour_change_does_what_its_name_says() -> None:
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
        assert np.abs(distort(red, color)[0, 0].astype(int) - expected).max() <= 1, color


def slow_label(
    plan: Plan, shown: Sample, min_face: float
) -> tuple[list[list[float]], list[list[float]]]:
    """Faces and ignored regions of one crop, box by box."""
    size, scale = plan.size, plan.size / plan.square.side

    def moved(box: list[float]) -> list[float]:
        x1, x2 = ((x - plan.square.left) * scale for x in box[::2])
        y1, y2 = ((y - plan.square.top) * scale for y in box[1::2])
        if plan.horizontal_flip:
            x1, x2 = size - x2, size - x1
        if plan.vertical_flip:
            y1, y2 = size - y2, size - y1
        return [x1, y1, x2, y2]

    faces, ignore = [], []
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
    st.builds(picture, box_lists(), box_lists()),
    st.builds(Square, st.integers(-200, 250), st.integers(-200, 150), st.integers(1, 400)),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(crops, min_size=1, max_size=4), st.sampled_from([0.0, 6.0, 30.0]))
def test_the_boxes_of_a_batch_are_those_of_each_crop(
    batch: list[tuple[Sample, Square, bool, bool]], min_face: float
) -> None:
    pictures = [shown for shown, *_ in batch]
    plans = [
        Plan(i, square, 128, horizontal_flip=mirrored, vertical_flip=turned)
        for i, (_, square, mirrored, turned) in enumerate(batch)
    ]
    labels = label(plans, pictures, min_face)
    assert labels.faces.shape == (*labels.real.shape, 4)
    assert labels.ignore.shape == (*labels.ignore_real.shape, 4)
    assert labels.real.shape[1] % 8 == 0
    assert labels.real.shape[1] >= 8
    assert not labels.faces[~labels.real].any()
    for i, plan in enumerate(plans):
        faces, ignore = slow_label(plan, pictures[i], min_face)
        for found, expected in (
            (labels.faces[i][labels.real[i]], faces),
            (labels.ignore[i][labels.ignore_real[i]], ignore),
        ):
            assert found.shape == (len(expected), 4)
            assert np.allclose(found, np.array(expected).reshape(-1, 4), rtol=1e-5, atol=1e-3)


def test_tiny_faces_are_ignored_and_faces_centred_outside_dropped() -> None:
    shown = picture([[30, 30, 60, 60], [100, 100, 104, 104], [120, 30, 150, 60]], [])
    labels = label([Plan(0, Square(0, 0, 128), 128)], [shown], 6)
    assert labels.faces[labels.real].tolist() == [[30, 30, 60, 60]]
    assert labels.ignore[labels.ignore_real].tolist() == [[100, 100, 104, 104]]
