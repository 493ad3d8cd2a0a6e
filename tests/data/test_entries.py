from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extd.data.entries import (
    at,
    face_classes,
    from_corner_and_size,
    from_corners,
    plain,
    read_text,
    relative_name,
    to_corner_and_size,
    to_corners,
    to_size,
)

pixels = st.floats(-1e6, 1e6, width=32)
boxes = st.integers(0, 4).flatmap(lambda n: arrays(np.float32, (n, 4), elements=pixels))


@given(boxes)
def test_corners_come_back_as_they_were(boxes: np.ndarray) -> None:
    back = from_corners(to_corners(boxes))
    assert back.dtype == np.float32
    assert back.shape == boxes.shape
    assert (back == boxes).all()


@given(boxes)
def test_corner_and_size_are_exact_to_a_millionth(boxes: np.ndarray) -> None:
    back = from_corner_and_size(to_corner_and_size(boxes))
    np.testing.assert_allclose(back, boxes, rtol=2e-7, atol=1e-6)


@given(pixels)
def test_plain_numbers_are_short_and_exact(value: float) -> None:
    assert float(plain(value)) == value
    assert "e" not in plain(value)
    assert not plain(value).endswith(".0")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2, 3]], r"\[1, 2, 3\] is no box of four numbers"),
        ([1, 2, 3, 4], "1 is no box"),
        ([[1, 2, 3, "4"]], "is no box"),
        ([[1, 2, True, 4]], "is no box"),
        ([[1, 2, float("nan"), 4]], "is no box"),
        ([[1, 2, 10**400, 4]], "is no box"),
        ({"x1": 1}, "is no list of boxes"),
        (None, "None is no list of boxes"),
    ],
)
def test_what_is_no_box_is_named(rows: object, message: str) -> None:
    for read in (from_corners, from_corner_and_size):
        with pytest.raises(ValueError, match=message):
            read(rows)


@pytest.mark.parametrize("value", [0, -3, 1.5, "640", None, float("inf"), float("nan")])
def test_what_is_no_size_is_named(value: object) -> None:
    with pytest.raises(ValueError, match="give a whole number above 0"):
        to_size(value)
    assert to_size(640.0) == 640


def test_errors_get_their_place() -> None:
    with (
        pytest.raises(ValueError, match=r"^a\.json, images\[3\]: 'width' is missing$"),
        at(Path("a.json"), "images[3]"),
    ):
        {}["width"]
    with pytest.raises(ValueError, match=r"^a\.json: no$"), at(Path("a.json")):
        raise ValueError("no")


def test_the_class_of_faces_is_found_by_its_name_or_alone() -> None:
    assert face_classes(["car", "Face", "face"]) == {"Face", "face"}
    assert face_classes(["head"]) == {"head"}
    with pytest.raises(ValueError, match=r"none of its classes is called 'face'.*'car', 'head'"):
        face_classes(["head", "car"])


def test_names_lead_from_a_folder_that_is_a_link(tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "a.jpg"
    picture.parent.mkdir()
    picture.write_bytes(b"a")
    (tmp_path / "deep" / "real").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "deep" / "real")
    name = relative_name(picture, link)
    assert name == "../../pictures/a.jpg"
    assert (link / name).read_bytes() == b"a"


def test_text_may_begin_with_a_mark_and_hold_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfna\xefve.jpg")
    assert read_text(path).encode(errors="surrogateescape") == b"na\xefve.jpg"
