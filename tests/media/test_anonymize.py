from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extd.boxes import iou
from extd.detector import Detector
from extd.faces import Faces
from extd.images import read_image, resize
from extd.media.anonymize import CELLS, AnonymizeOptions, Method, Shape, anonymize, uncovered
from extd.pixels import Image

WIDTH, HEIGHT = 80, 60
coordinates = st.floats(-30, 110, width=32)
corners = st.tuples(coordinates, coordinates, coordinates, coordinates)


def noise(width: int = WIDTH, height: int = HEIGHT) -> Image:
    return np.random.default_rng(0).integers(60, 200, (height, width, 3), np.uint8)


def to_faces(rows: list[tuple[float, ...]]) -> Faces:
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1
    )
    return Faces(boxes, np.full(len(boxes), 0.5), WIDTH, HEIGHT)


def covering_of(method: Method, shape: Shape = "ellipse") -> AnonymizeOptions:
    image = np.full((7, 9, 3), (250, 0, 0), np.uint8) if method == "image" else None
    return AnonymizeOptions(method=method, shape=shape, image=image)


@given(
    st.lists(corners, max_size=4),
    st.sampled_from(get_args(Method)),
    st.sampled_from(get_args(Shape)),
)
@settings(max_examples=60)
def test_boxes_anywhere_change_what_is_near_them_in_a_new_array(
    rows: list[tuple[float, ...]], method: Method, shape: Shape
) -> None:
    image, faces = noise(), to_faces(rows)
    covered = anonymize(image, faces, covering_of(method, shape))
    assert covered.shape == image.shape
    assert covered.dtype == np.uint8
    assert np.array_equal(image, noise())
    near = np.zeros((HEIGHT, WIDTH), np.bool_)
    for box in faces.boxes:
        sides = np.maximum((box[2:] - box[:2]) * 0.25, 0) + 2
        x1, y1 = np.maximum(np.floor(box[:2] - sides), 0).astype(int)
        x2, y2 = np.maximum(np.ceil(box[2:] + sides), 0).astype(int)
        near[y1:y2, x1:x2] = True
    assert np.array_equal(covered[~near], image[~near])


@given(corners, st.sampled_from(get_args(Shape)))
def test_a_cover_holds_the_whole_box(row: tuple[float, ...], shape: Shape) -> None:
    faces = to_faces([row])
    covered = anonymize(noise(), faces, covering_of("solid", shape))
    x1, y1 = np.maximum(np.ceil(faces.boxes[0, :2]), 0).astype(int)
    x2, y2 = np.maximum(np.floor(faces.boxes[0, 2:]), 0).astype(int)
    assert not covered[y1:y2, x1:x2].any()


@pytest.mark.parametrize("method", ["blur", "pixelate"])
@pytest.mark.parametrize("side", [8, 20, 200])
def test_no_detail_of_a_face_stays_whatever_its_size(method: Method, side: int) -> None:
    image = noise(3 * side, 3 * side)
    faces = Faces([[side, side, 2 * side, 2 * side]], [0.9], 3 * side, 3 * side)
    covered = anonymize(image, faces, covering_of(method, "box"))
    inside = np.s_[side : 2 * side, side : 2 * side]
    # Noise of single pixels is what a strong low-pass removes.
    assert covered[inside].std() < image[inside].std() / 3


def test_pixelate_leaves_the_stated_number_of_cells() -> None:
    image = noise(600, 600)
    faces = Faces([[200, 200, 400, 400]], [0.9], 600, 600)
    for strength in (1, 2):
        row = anonymize(image, faces, AnonymizeOptions("pixelate", "box", strength=strength))[
            300, 200:400
        ]
        steps = np.flatnonzero(np.any(row[1:] != row[:-1], axis=1))
        assert len(steps) in {CELLS // strength - 1, CELLS // strength}


def test_a_face_found_on_a_face_brings_nothing_back() -> None:
    image = noise(300, 300)
    large, small = [50, 50, 250, 250], [140, 140, 152, 152]
    for method in ("blur", "pixelate"):
        for boxes in ([large, small], [small, large]):
            covered = anonymize(image, Faces(boxes, [0.9, 0.8], 300, 300), AnonymizeOptions(method))
            assert covered[140:152, 140:152].std() < 8


def test_strength_blurs_further() -> None:
    image = noise(300, 300)
    faces = Faces([[100, 100, 200, 200]], [0.9], 300, 300)
    weak, strong = (
        anonymize(image, faces, AnonymizeOptions(strength=strength))[100:200, 100:200].std(
            axis=(0, 1)
        )
        for strength in (0.3, 2)
    )
    assert (strong < weak).all()


def test_an_image_is_stretched_over_the_box() -> None:
    image = np.zeros((80, 80, 3), np.uint8)
    image[:, 40:] = 255
    faces = to_faces([(20, 10, 60, 50)])
    covered = anonymize(noise(), faces, AnonymizeOptions("image", "box", margin=0, image=image))
    assert not covered[10:50, 20:38].any()
    assert (covered[10:50, 42:60] == 255).all()


def test_faces_in_kept_regions_are_left_alone() -> None:
    faces = to_faces([(5, 5, 20, 20), (40, 30, 60, 50)])
    covering = AnonymizeOptions("solid", keep=((0, 0, 25, 25),))
    covered = anonymize(noise(), faces, covering)
    assert np.array_equal(covered[:25, :25], noise()[:25, :25])
    assert not covered[30:50, 40:60].any()
    assert len(uncovered(faces, faces, covering)) == 0


def test_what_lies_less_than_three_quarters_under_a_cover_is_uncovered() -> None:
    hidden = to_faces([(20, 20, 40, 40)])
    found = to_faces([(22, 22, 38, 38), (17, 17, 43, 43), (60, 20, 75, 40), (40, 20, 60, 40)])
    assert uncovered(found, hidden).boxes.tolist() == found.boxes[2:].tolist()
    assert len(uncovered(found, to_faces([]))) == len(found)
    assert len(uncovered(to_faces([]), hidden)) == 0


@pytest.mark.parametrize("method", ["blur", "pixelate", "solid"])
def test_real_faces_are_covered(examples: Path, method: Method) -> None:
    detector = Detector(threads=1)
    image = read_image(examples / "solvay_1927.jpg")
    image = resize(image, (image.shape[1] // 2, image.shape[0] // 2))
    faces = detector.detect(image)
    assert len(faces) > 20
    covered = anonymize(image, faces, covering_of(method))
    # A cover may be found, and what is no face, but none of the faces.
    left = uncovered(detector.detect(covered), faces)
    assert iou(left.boxes, faces.boxes).max(initial=0) == 0
    assert len(uncovered(faces, faces)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "smear"}, "smear"),
        ({"shape": "circle"}, "circle"),
        ({"margin": -0.1}, r"-0\.1"),
        ({"margin": float("nan")}, "nan"),
        ({"margin": 1e40}, "margin is 1e\\+40; give 0 to 10"),
        ({"strength": 1e-310}, "strength is 1e-310; give 0.01 to 100"),
        ({"strength": 0}, "strength is 0"),
        ({"method": "image"}, "needs an image"),
        ({"image": noise()}, "no other method"),
        ({"method": "image", "image": noise()[..., 0]}, r"uint8 \[60, 80\]; give uint8"),
        ({"method": "image", "image": noise()[:0]}, r"uint8 \[0, 80, 3\]; give uint8"),
        ({"keep": ((10, 0, 10, 5),)}, "10,0,10,5"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnonymizeOptions(**arguments)
