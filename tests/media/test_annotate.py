from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.faces import Faces
from extd.media.annotate import LINE, annotate

SIDES = st.integers(1, 90)
EDGES = st.floats(-50, 150, width=32)


@st.composite
def images_with_faces(draw: st.DrawFn) -> Faces:
    count = draw(st.integers(0, 6))
    corners = [sorted((draw(EDGES), draw(EDGES))) for _ in range(2 * count)]
    boxes = [(x[0], y[0], x[1], y[1]) for x, y in zip(corners[::2], corners[1::2], strict=True)]
    scores = [draw(st.floats(0, 1, width=32)) for _ in boxes]
    return Faces(np.reshape(boxes, (-1, 4)), scores, draw(SIDES), draw(SIDES))


@given(images_with_faces())
def test_any_faces_are_drawn_into_a_copy(faces: Faces) -> None:
    image = np.full((faces.height, faces.width, 3), 7, np.uint8)
    image.flags.writeable = False
    annotated = annotate(image, faces)
    assert annotated.shape == image.shape
    assert (image == 7).all()
    if len(faces) == 0:
        assert np.array_equal(annotated, image)


@given(st.floats(1, 600, width=32), st.floats(0, 1, width=32))
def test_a_face_stays_visible_inside_its_frame(side: float, score: float) -> None:
    image = np.random.default_rng(7).integers(0, 256, (800, 900, 3), np.uint8)
    annotated = annotate(image, Faces([[70, 50, 70 + side, 50 + side]], [score], 900, 800))
    face = np.s_[50 : int(50 + side), 70 : int(70 + side)]
    assert np.array_equal(annotated[face], image[face])
    assert not np.array_equal(annotated, image)


@pytest.mark.parametrize(
    "box", [(60, 40, 80, 60), (0, 0, 20, 20), (180, 130, 200, 150), (-50, -50, 250, 200)]
)
def test_a_score_is_written_within_the_image(box: tuple[float, ...]) -> None:
    image = np.zeros((150, 200, 3), np.uint8)
    annotated = annotate(image, Faces([box], [0.5], 200, 150))
    # Only a label is a filled area of the line's color, at least 12 px high.
    filled = (annotated == LINE).all(axis=2)
    rows = filled.sum(axis=1)
    assert (rows >= 10).sum() >= 12


def test_scores_cover_no_other_face() -> None:
    image = np.zeros((150, 200, 3), np.uint8)
    # The first face has no room for its score.
    boxes = [[60, 40, 80, 60], [60, 20, 80, 36], [60, 64, 80, 80]]
    annotated = annotate(image, Faces(boxes, [0.9, 0.8, 0.7], 200, 150))
    for x1, y1, x2, y2 in boxes:
        assert (annotated[y1:y2, x1:x2] == 0).all()


def test_large_faces_get_thicker_lines_than_tiny_ones() -> None:
    image = np.zeros((900, 900, 3), np.uint8)
    annotated = annotate(image, Faces([[20, 700, 30, 710], [300, 100, 700, 500]], [1, 1], 900, 900))
    column = (annotated == LINE).all(axis=2)
    assert column[705, :100].sum() == 2
    assert column[400].sum() >= 6


def test_it_draws_into_the_image_that_is_given() -> None:
    image, other = np.zeros((2, 48, 64, 3), np.uint8)
    faces = Faces([[10, 10, 30, 30]], [0.9], 64, 48)
    expected = annotate(image, faces)
    assert not image.any()
    assert annotate(image, faces, out=other) is other
    assert np.array_equal(other, expected)
    assert annotate(image, faces, out=image) is image
    assert np.array_equal(image, expected)


def test_views_are_drawn_into_and_what_does_not_fit_is_refused() -> None:
    faces = Faces([[20, 20, 60, 60]], [0.9], 100, 80)
    image = np.zeros((80, 100, 3), np.uint8)
    bgr = image.copy()
    rgb = bgr[:, :, ::-1]
    assert annotate(rgb, faces, out=rgb) is rgb
    assert np.array_equal(rgb, annotate(image, faces))
    for out in (image.astype(float), image[:-1].copy()):
        with pytest.raises(ValueError, match=r"give writable uint8 \[80, 100, 3\]"):
            annotate(image, faces, out=out)
    image.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        annotate(image, faces, out=image)


def test_landmarks_are_dots() -> None:
    image = np.zeros((90, 90, 3), np.uint8)
    points = np.array([[[30, 30], [50, 30], [40, 42], [33, 52], [47, 52]]])
    faces = Faces([[20, 20, 60, 60]], [0.9], 90, 90, points)
    plain, marked = annotate(image, faces), annotate(image, faces, landmarks=True)
    changed = np.argwhere((plain != marked).any(2))[:, ::-1] + 0.5
    distance = np.linalg.norm(changed[:, None] - points[0], axis=2)
    assert distance.min(1).max() <= 2.5
    assert (distance.min(0) <= 0.8).all()
