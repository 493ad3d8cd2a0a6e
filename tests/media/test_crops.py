from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.faces import Faces
from extd.media.annotate import annotate
from extd.media.anonymize import anonymize
from extd.media.crops import crops

WIDTH, HEIGHT = 40, 30
IMAGE = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
sides = st.floats(0, 50, width=32)
places = st.floats(-60, 60, width=32)


def face(x1: float, y1: float, x2: float, y2: float) -> Faces:
    return Faces([[x1, y1, x2, y2]], [0.9], WIDTH, HEIGHT)


@given(places, places, sides, sides, st.floats(0, 2), st.booleans())
def test_a_crop_has_its_box_and_repeats_the_border(
    x: float, y: float, width: float, height: float, margin: float, square: bool
) -> None:
    faces = face(x, y, x + width, y + height)
    (crop,) = crops(IMAGE, faces, margin=margin, square=square)
    x1, y1, x2, y2 = crop.box
    assert crop.image.shape == (y2 - y1, x2 - x1, 3)
    assert min(crop.image.shape) >= 1
    if square:
        assert x2 - x1 == y2 - y1
    box = faces.boxes[0]
    assert x1 <= box[0]
    assert y1 <= box[1]
    assert x2 >= box[2]
    assert y2 >= box[3]
    around = np.pad(IMAGE, ((200, 200), (200, 200), (0, 0)), mode="edge")
    assert np.array_equal(crop.image, around[y1 + 200 : y2 + 200, x1 + 200 : x2 + 200])


def test_margin_is_a_share_of_the_face() -> None:
    (crop,) = crops(IMAGE, face(10, 10, 20, 14), margin=0.5)
    assert crop.box == (5, 8, 25, 16)
    (crop,) = crops(IMAGE, face(10, 10, 20, 14), margin=0.5, square=True)
    assert crop.box == (5, 2, 25, 22)


def test_small_faces_are_left_out_and_the_others_keep_their_index() -> None:
    faces = Faces([[0, 0, 4, 5], [5, 5, 9, 15], [0, 0, 10, 3]], [0.9, 0.8, 0.7], WIDTH, HEIGHT)
    assert [crop.index for crop in crops(IMAGE, faces, min_face=10)] == [1, 2]
    assert crops(IMAGE, Faces.empty(WIDTH, HEIGHT)) == []


def test_a_crop_is_a_copy() -> None:
    image = IMAGE.copy()
    (crop,) = crops(image, face(0, 0, WIDTH, HEIGHT))
    crop.image[:] = 0
    assert np.array_equal(image, IMAGE)


def test_wrong_values_are_named() -> None:
    with pytest.raises(ValueError, match="-1"):
        crops(IMAGE, face(1, 1, 2, 2), margin=-1)
    with pytest.raises(ValueError, match="min_face is nan"):
        crops(IMAGE, face(1, 1, 2, 2), min_face=float("nan"))


@pytest.mark.parametrize("work", [annotate, anonymize, crops])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("photo.jpg", "the image is 'photo.jpg'; give what extd.read_image makes of it"),
        (np.zeros((20, 30), np.uint8), r"uint8 \[20, 30\]; give uint8 \[H, W, 3\]"),
        (np.zeros((20, 30, 3), np.float32), r"float32 \[20, 30, 3\]; give uint8"),
        (np.zeros((20, 31, 3), np.uint8), "of 30 x 20 px, but the image has 31 x 20"),
    ],
)
def test_what_is_no_image_or_another_is_refused(
    work: Callable[..., Any], image: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        work(image, Faces([[2, 2, 9, 9]], [0.9], 30, 20))
