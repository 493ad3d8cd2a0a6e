from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.boxes import iou
from extd.faces import Faces
from extd.media.tracking import fill_gaps, match

WIDTH, HEIGHT = 200, 100


def faces_at(*places: float) -> Faces:
    """Faces of 20 px whose left edges are at these places."""
    boxes = np.array([[x, 30, x + 20, 50] for x in places], np.float32).reshape(-1, 4)
    return Faces(boxes, np.full(len(boxes), 0.9), WIDTH, HEIGHT)


def filled(found: list[Faces], frames: int) -> list[Faces]:
    """The faces with their gaps filled; each must come with its item."""
    pairs = list(fill_gaps(enumerate(found), frames))
    assert [number for number, _ in pairs] == list(range(len(found)))
    return [faces for _, faces in pairs]


def lefts(faces: Faces) -> list[float]:
    return sorted(faces.boxes[:, 0].tolist())


places = st.lists(st.sampled_from([0.0, 5.0, 60.0, 66.0, 120.0, 170.0]), max_size=3, unique=True)
videos = st.lists(places.map(lambda xs: faces_at(*xs)), max_size=14)


@given(videos, st.integers(0, 6))
def test_every_face_that_is_found_stays_first_and_as_it_is(found: list[Faces], n: int) -> None:
    for before, after in zip(found, filled(found, n), strict=True):
        assert after[: len(before)] == before
        assert (after.width, after.height) == (WIDTH, HEIGHT)


@given(videos, st.integers(0, 6))
def test_around_every_face_found_n_frames_have_one_near_it(found: list[Faces], n: int) -> None:
    after = filled(found, n)
    for number, faces in enumerate(found):
        for box in faces.boxes:
            for other in after[max(number - n, 0) : number + n + 1]:
                # A track that goes on may have moved by as much as the places of a face differ.
                assert iou(box[None], other.boxes).max(initial=0) > 0


@given(videos)
def test_a_gap_of_0_changes_nothing(found: list[Faces]) -> None:
    assert filled(found, 0) == found


@given(st.integers(1, 6), st.integers(0, 9), st.floats(-3, 3))
def test_a_gap_is_filled_by_interpolation_if_it_is_short(n: int, gap: int, speed: float) -> None:
    start = 80.0
    end = start + speed * (gap + 1) / 2
    found = [faces_at(start), *[faces_at()] * gap, faces_at(end)]
    after = filled(found, n)
    if gap <= n:
        path = np.linspace(start, end, gap + 2)
        assert [lefts(faces)[0] for faces in after] == pytest.approx(path.tolist(), abs=1e-3)
        assert {len(faces) for faces in after} == {1}
    else:
        near = [lefts(faces) for faces in after[1:-1]]
        assert all(start in kept for kept in near[:n])
        assert all(np.float32(end) in kept for kept in near[-n:])
        assert not any(near[n:-n])


def test_a_face_is_covered_before_it_is_seen_and_after() -> None:
    found = [faces_at()] * 4 + [faces_at(50)] + [faces_at()] * 4
    assert [len(faces) for faces in filled(found, 2)] == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    assert [len(faces) for faces in filled(found, 20)] == [1] * 9


def test_no_more_frames_are_read_ahead_than_are_filled() -> None:
    read: list[int] = []

    def source() -> Iterator[tuple[int, Faces]]:
        for number in range(10):
            read.append(number)
            yield number, faces_at(50)

    for number, _ in fill_gaps(source(), 3):
        assert len(read) <= number + 4


def test_faces_side_by_side_keep_their_own_tracks() -> None:
    found = [faces_at(40, 58), faces_at(), faces_at(62, 44)]
    assert lefts(filled(found, 1)[1]) == [42, 60]


def test_a_track_goes_on_in_the_box_that_overlaps_most() -> None:
    tracks = [np.array([x, 0, x + 10, 10], np.float32) for x in (0, 4)]
    boxes = np.array([[5, 0, 15, 10], [90, 0, 100, 10], [3, 0, 13, 10]], np.float32)
    assert match(tracks, boxes) == [-1, -1, 1] or match(tracks, boxes) == [1, -1, 0]
    assert match([], boxes) == [-1, -1, -1]
    assert match(tracks, boxes[:0]) == []


def test_a_negative_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="gap is -1"):
        list(fill_gaps([], -1))
