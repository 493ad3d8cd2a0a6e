from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from extd.boxes import iou
from extd.faces import Faces
from extd.media.tracking import fill_gaps, match, track

WIDTH, HEIGHT = 200, 100


def faces_at(*places: float) -> Faces:
    """Faces of 20 px whose left edges are at these places."""
    boxes = np.array([[x, 30, x + 20, 50] for x in places], np.float32).reshape(-1, 4)
    return Faces(boxes, np.full(len(boxes), 0.9), WIDTH, HEIGHT)


def filled(found: list[Faces], frames: int) -> list[Faces]:
    """The faces with their gaps filled; each must come with its item."""
    pairs = list(fill_gaps(track(enumerate(found)), frames))
    assert [number for number, _ in pairs] == list(range(len(found)))
    return [faces for _, faces in pairs]


def lefts(faces: Faces) -> list[float]:
    return sorted(faces.boxes[:, 0].tolist())


places = st.lists(st.sampled_from([0.0, 5.0, 60.0, 66.0, 120.0, 170.0]), max_size=3, unique=True)
videos = st.lists(places.map(lambda xs: faces_at(*xs)), max_size=14)


@given(videos, st.integers(0, 6))
def test_every_face_that_is_found_stays_first_and_as_it_is(found: list[Faces], n: int) -> None:
    for before, after in zip(found, filled(found, n), strict=True):
        assert replace(after[: len(before)], ids=None) == before
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
    assert filled(found, 0) == [faces for _, faces in track(enumerate(found))]


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

    for number, _ in fill_gaps(track(source()), 3):
        assert len(read) <= number + 4


def test_faces_side_by_side_keep_their_own_tracks() -> None:
    found = [faces_at(40, 58), faces_at(), faces_at(62, 44)]
    assert lefts(filled(found, 1)[1]) == [42, 60]


def test_the_most_similar_pair_goes_first() -> None:
    similarities = np.array([[0.6, 0, 0.5], [0.3, 0.1, 0.9], [0.7, 0, 0.8]], np.float32)
    assert match(similarities).tolist() == [2, -1, 1]
    assert match(similarities[:0]).tolist() == [-1, -1, -1]
    assert match(similarities[:, :0]).tolist() == []


def test_a_negative_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="gap is -1"):
        list(fill_gaps([], -1))


def ids_of(found: list[Faces], missed: int = 15) -> list[list[int]]:
    return [faces.ids.tolist() for _, faces in track(enumerate(found), missed)]


def test_an_id_holds_while_its_face_is_missed_and_then_moves_on() -> None:
    ends = [faces_at(10), faces_at(14)]
    found = [*ends, *[faces_at()] * 10, faces_at(58)]
    assert ids_of(found) == [[1], [1], *[[]] * 10, [1]]
    assert ids_of(found, 10)[-1] == [1]
    assert ids_of(found, 9)[-1] == [2]


def test_ids_are_never_given_twice() -> None:
    found = [faces_at(0, 60), faces_at(), faces_at(170, 60, 0), faces_at(120)]
    assert ids_of(found) == [[1, 2], [], [3, 2, 1], [4]]


def test_a_face_that_jumps_is_covered_at_both_places() -> None:
    here, there = faces_at(0), faces_at(150)
    found = [(i, replace(faces, ids=[7])) for i, faces in enumerate([here, there])]
    assert [lefts(faces) for _, faces in fill_gaps(found, 1)] == [[0, 150], [0, 150]]


def test_a_face_without_an_id_is_a_new_one() -> None:
    found = list(enumerate([faces_at(0), faces_at(), faces_at(4), faces_at()]))
    assert [lefts(faces) for _, faces in fill_gaps(found, 1)] == [[0], [0, 4], [4], [4]]


def idf1(truth: list[dict[int, NDArray[np.float32]]], found: list[Faces]) -> float:
    """IDF1 (Ristani et al. 2016): the share of boxes with the right identity, at an IoU of .5."""
    shared: dict[tuple[int, int], int] = {}
    for boxes, faces in zip(truth, found, strict=True):
        for own, box in boxes.items():
            overlaps = iou(box[None], faces.boxes)[0]
            for face in np.flatnonzero(overlaps >= 0.5):
                pair = own, int(faces.ids[face])
                shared[pair] = shared.get(pair, 0) + 1
    counts = np.zeros([max(ids) + 1 for ids in zip(*shared, strict=True)])
    for pair, count in shared.items():
        counts[pair] = count
    total = sum(map(len, truth)) + sum(map(len, found))
    return float(2 * counts[linear_sum_assignment(-counts)].sum() / total)


@pytest.mark.parametrize("seed", range(3))
def test_ids_hold_in_a_crowd_that_moves_and_is_missed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames, people = np.arange(250), 6
    # Each walks in its row with a period and phase of its own, and gets nearer and farther away.
    periods, phases, sides = rng.uniform((200, 0, 25), (400, 300, 45), (people, 3)).T[..., None]
    x = 320 + 250 * np.sin((frames + phases) * 2 * np.pi / periods)
    y = np.linspace(30, 330, people)[:, None] + 10 * np.sin(frames / 9 + phases)
    half = sides * (1 + 0.3 * np.sin(frames / 40 + phases)) / 2
    boxes = np.stack([x - half, y - half, x + half, y + half], axis=-1)
    # About a third of the time each is missed, for up to ten frames at once.
    seen = np.ones((people, len(frames)), np.bool_)
    for person in range(people):
        start = int(rng.integers(5, 15))
        while start < len(frames):
            length = int(rng.integers(1, 11))
            seen[person, start : start + length] = False
            start += length + int(rng.integers(3, 20))
    truth: list[dict[int, NDArray[np.float32]]] = []
    found = []
    for frame in frames:
        here = np.flatnonzero(seen[:, frame])
        noisy = boxes[here, frame] + rng.normal(0, 1, (len(here), 4))
        # Something in the background is taken for a face now and then.
        false = np.array([[300, 150, 325, 180]] * int(rng.random() < 0.1)).reshape(-1, 4)
        both = np.concatenate([noisy, false])
        truth.append({int(i): boxes[i, frame].astype(np.float32) for i in here})
        found.append(Faces(both, np.full(len(both), 0.9), 640, 360))
    assert idf1(truth, [faces for _, faces in track(enumerate(found))]) >= 0.95
