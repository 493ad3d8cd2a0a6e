from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from extd.boxes import VOTE_SHARE, iou
from extd.detector import Detector, Options
from extd.faces import Faces
from extd.images import read_image
from extd.passes import (
    COARSEST,
    CONTEXT,
    SEEN_WELL,
    STRIDE,
    Pass,
    Tile,
    add_uncovered,
    place_tiles,
    pool,
    pyramid,
    rescale,
    suppress,
)


def faces(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> Faces:
    """Each with landmarks that tell which box they belong to."""
    points = np.arange(len(boxes), dtype=np.float32)[:, None, None].repeat(5, 1).repeat(2, 2)
    return Faces(boxes, scores, 50, 40, points)


@st.composite
def some_boxes(draw: st.DrawFn) -> NDArray[np.float32]:
    corner = st.tuples(st.floats(-9, 30, width=32), st.floats(-9, 30, width=32))
    side = st.tuples(st.floats(1, 20, width=32), st.floats(1, 20, width=32))
    rows = draw(st.lists(st.tuples(corner, side), min_size=1, max_size=12))
    return np.array([(x, y, x + w, y + h) for (x, y), (w, h) in rows], np.float32)


def test_boxes_of_an_untrained_network_vote_too() -> None:
    boxes = np.array([[-1e20, -1e20, 1e20, 1e20], [-1e20, -1e20, 1e20, 2e20]], np.float32)
    found = suppress(faces(boxes, np.array([0.6, 0.3], np.float32)), 0, 0.3, box_voting=True)
    third = 1e20 * (1 + 0.3 * 2 / 3 / (0.6 + 0.3 * 2 / 3))
    assert found.boxes == pytest.approx(np.array([[-1e20, -1e20, 1e20, third]]))


@given(some_boxes(), st.integers(0, 99), st.floats(0, 0.9))
def test_a_vote_does_not_depend_on_the_threshold(
    boxes: NDArray[np.float32], seed: int, threshold: float
) -> None:
    scores = np.random.default_rng(seed).uniform(0.05, 1, len(boxes)).astype(np.float32)
    every = faces(boxes, scores)
    whole = suppress(every, 0, 0.3, box_voting=True)
    likely = every[scores > threshold * VOTE_SHARE]
    found = suppress(likely, threshold, 0.3, box_voting=True)
    sure = whole[whole.scores > threshold]
    assert found.boxes == pytest.approx(sure.boxes, abs=1e-4)
    assert Faces(sure.boxes, found.scores, 50, 40, found.landmarks) == sure


def test_landmarks_move_with_their_boxes() -> None:
    found = faces(np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.float32), np.ones(2, np.float32))
    moved = Tile(10, 20, 110, 140, (0, 0, 0, 0)).undo(rescale(found, 100, 120), 200, 300)
    assert (moved.width, moved.height) == (200, 300)
    assert moved.boxes.tolist() == [[10, 23, 14, 29], [18, 35, 22, 41]]
    assert moved.landmarks is not None
    assert moved.landmarks[1, 0].tolist() == [12, 23]
    both = pool([found, moved])
    assert len(both) == 4
    assert both[3:].boxes.tolist() == [[18, 35, 22, 41]]


passes = st.builds(Pass, st.just(1.0), st.integers(0, 3), st.booleans())


@given(passes, st.data())
def test_boxes_and_landmarks_go_with_their_pixels(one: Pass, data: st.DataObject) -> None:
    height, width = 20, 30
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    image = np.zeros((height, width, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    view = one.orient(image)
    assert view.shape[1::-1] == one.size(width, height)
    rows, columns = np.nonzero(view[:, :, 0])
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    # All landmarks in the corner that the box's own first corner has become, or another.
    found = Faces([seen], [1], *one.size(width, height), [[seen[:2]] * 5])
    upright = one.undo(found, width, height)
    assert (upright.width, upright.height) == (width, height)
    assert upright.boxes.tolist() == [[x1, y1, x2, y2]]
    assert upright.landmarks is not None
    assert np.isin(upright.landmarks[..., 0], (x1, x2)).all()
    assert np.isin(upright.landmarks[..., 1], (y1, y2)).all()


def test_the_eyes_of_a_mirrored_face_change_sides() -> None:
    points = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
    found = Pass(mirrored=True).undo(Faces([[0, 0, 9, 9]], [1], 100, 50, points), 100, 50)
    assert found.landmarks is not None
    assert found.landmarks[0].tolist() == [[98, 3], [100, 1], [96, 5], [92, 9], [94, 7]]


def test_turns_are_clockwise_and_nothing_is_copied() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 255
    turned = Pass(quarters=1).orient(image)
    assert turned.shape == (3, 2, 3)
    assert turned[0, 1, 0] == 255
    assert np.shares_memory(turned, image)
    assert np.shares_memory(Pass(quarters=3, mirrored=True).orient(image), image)


sides = st.integers(1, 5000)
tilings = st.sampled_from([(256, 128), (512, 256), (640, 384), (1024, 768), (1024, 896)])


@given(sides, sides, tilings)
def test_tiles_begin_with_cells_of_the_network(
    width: int, height: int, tiling: tuple[int, int]
) -> None:
    side, step = tiling
    tiles = place_tiles(width, height, side, step)
    for length, ends in (
        (width, {(tile.x1, tile.x2) for tile in tiles}),
        (height, {(tile.y1, tile.y2) for tile in tiles}),
    ):
        assert (min(ends)[0], max(ends)[1]) == (0, length)
        assert max(end - begin for begin, end in ends) <= side
        assert all(begin % STRIDE == 0 for begin, _ in ends)


@given(sides, sides, tilings, st.data())
def test_each_point_counts_somewhere(
    width: int, height: int, tiling: tuple[int, int], data: st.DataObject
) -> None:
    side, step = tiling
    x, y = data.draw(st.floats(0, width)), data.draw(st.floats(0, height))
    point = np.array([[x, y, x, y]], np.float32)
    tiles = place_tiles(width, height, side, step)
    counting = [tile for tile in tiles if tile.owns(point, side - step)[0]]
    assert counting
    for tile in counting:
        gaps = [x - tile.edges[0], y - tile.edges[1], tile.edges[2] - x, tile.edges[3] - y]
        assert min(gaps) >= CONTEXT * (side - step) - 0.01


@given(sides, sides, tilings, st.data())
def test_a_face_of_three_quarters_of_the_overlap_is_whole_in_a_tile(
    width: int, height: int, tiling: tuple[int, int], data: st.DataObject
) -> None:
    side, step = tiling
    x, y = data.draw(st.floats(0, width)), data.draw(st.floats(0, height))
    w, h = (data.draw(st.floats(1, (side - step) * 3 / 4)) for _ in range(2))
    box = np.array([[x - w / 2, y - h / 2, x + w / 2, y + h / 2]], np.float32)
    tiles = place_tiles(width, height, side, step)
    assert any((tile.owns(box, side - step) & ~tile.cuts(box)).all() for tile in tiles)


LEFT, RIGHT = place_tiles(1792, 1024, 1024, 768)


def found(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Faces:
    return Faces(np.array(boxes, np.float32), [score] * len(boxes), 1792, 1024)


def test_a_box_near_an_inner_edge_is_cut_and_at_the_border_it_is_not() -> None:
    boxes = found((900, 9, 1020, 90), (0, 0, 80, 80), (800, 900, 900, 1024)).boxes
    assert LEFT.cuts(boxes).tolist() == [True, False, False]
    assert RIGHT.cuts(found((769, 9, 900, 90)).boxes).tolist() == [True]


def test_a_cut_box_goes_where_another_face_covers_it() -> None:
    part, whole = found((820, 400, 1020, 600)), found((820, 400, 1050, 600), score=0.5)
    assert add_uncovered(whole, part) == whole
    # Nobody else has it: better a part than nothing.
    assert add_uncovered(Faces.empty(1792, 1024), part) == part
    other = found((0, 0, 90, 90), score=0.5)
    assert add_uncovered(other, part).scores.tolist() == [*part.scores.tolist(), 0.5]


@given(st.floats(1, 30_000), st.floats(0, 5_000))
def test_every_size_has_a_pass_of_the_pyramid(longest: float, smallest: float) -> None:
    levels = pyramid(longest, smallest)
    assert longest * levels[-1].factor <= COARSEST or levels[-1].factor == 1
    assert sum(level.factor**2 for level in levels) < 1.34 * levels[0].factor ** 2
    for side in np.geomspace(max(smallest, 1), longest, 20) if smallest <= longest else ():
        seen = [np.array([[0, 0, side * level.factor, 1]]) for level in levels]
        answers = [level.answers_for(box)[0] for level, box in zip(levels, seen, strict=True)]
        assert any(answers)
        # Where several answer, each sees the face at a size that it sees well.
        assert sum(answers) <= 3


def test_min_face_leaves_out_the_finest_passes() -> None:
    assert [level.factor for level in pyramid(4000)] == [1, 1 / 2, 1 / 4, 1 / 8]
    assert [level.factor for level in pyramid(4000, 80)] == [1 / 4, 1 / 8]
    assert [level.sizes[0] for level in pyramid(4000, 80)] == [0, SEEN_WELL[0]]
    assert pyramid(COARSEST) == [Pass()]


@pytest.fixture(scope="module")
def packaged() -> Detector:
    # In int8 boxes depend more on what is around them.
    return Detector(threads=1, precision="float")


@pytest.mark.parametrize(("tile", "overlap"), [(768, 0.34), (1024, 0.25)])
def test_tiles_find_the_faces_of_the_whole_image(
    packaged: Detector, examples: Path, tile: int, overlap: float
) -> None:
    image = read_image(examples / "solvay_1927.jpg")
    whole = packaged.detect(image, Options(tile=0))
    tiled = packaged.detect(image, Options(tile=tile, overlap=overlap))
    assert len(tiled) == len(whole) == 29
    overlaps = iou(whole.boxes, tiled.boxes)
    nearest = overlaps.argmax(axis=1)
    off = np.sort(np.abs(whole.boxes - tiled.boxes[nearest]).max(axis=1))
    # Of one face another anchor's box may be the best by a hair.
    assert off[-2] < 0.5
    assert overlaps.max(axis=1).min() > 0.9
    assert np.abs(whole.scores - tiled.scores[nearest]).max() < 0.02


def test_a_face_larger_than_a_tile_is_found_whole(packaged: Detector, examples: Path) -> None:
    face = read_image(examples / "astronaut.jpg")[:256, 96:352]
    image = face.repeat(3, axis=0).repeat(3, axis=1)
    whole = packaged.detect(image, Options(longest=512)).boxes[:1]
    assert (whole[:, 2:] - whole[:, :2]).min() > 256
    tiled = packaged.detect(image, Options(tile=256))
    assert iou(whole, tiled.boxes).max() > 0.8


# Small faces, as no coarser pass answers for.
cell = st.tuples(st.integers(0, 49), st.integers(0, 37), st.integers(80, 255), st.integers(1, 12))


@settings(max_examples=15)
@given(st.lists(cell, max_size=12), st.booleans(), st.sampled_from([0, 90, 180, 270]))
def test_tiles_are_not_seen_in_the_result(
    toy: str, cells: list[tuple[int, int, int, int]], flip: bool, rotation: int
) -> None:
    image = np.zeros((304, 400, 3), np.uint8)
    for column, row, red, green in cells:
        image[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8, :2] = red, green
    detector = Detector(toy, threads=1)
    whole, tiled = (
        detector.detect(image, Options(threshold=0.3, flip=flip, rotations=(rotation,), tile=tile))
        for tile in (0, 256)
    )
    assert sorted(tiled.boxes.tolist()) == sorted(whole.boxes.tolist())
    assert np.array_equal(tiled.scores, whole.scores)


@pytest.mark.parametrize(
    ("shape", "options", "largest"),
    [
        ((4096, 4096), Options(), (4096, 4096)),
        ((4096, 4104), Options(scales=(1.0,)), (1024, 1024)),
        ((4096, 4104), Options(), (2048, 2052)),
        ((4096, 4104), Options(tile=0), (4096, 4104)),
        ((4096, 4104), Options(scales=(0.9,)), (3686, 3694)),
        ((600, 400), Options(tile=600), (600, 400)),
        ((600, 600), Options(tile=599), (512, 512)),
    ],
)
def test_only_large_images_are_divided_by_themselves(
    toy: str,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int],
    options: Options,
    largest: tuple[int, int],
) -> None:
    detector = Detector(toy, threads=1)
    sizes: list[tuple[int, ...]] = []
    run = detector.network.run

    def watched(images: NDArray[np.uint8], threshold: float) -> list[Faces]:
        sizes.append(images.shape[1:3])
        return run(images, threshold)

    monkeypatch.setattr(detector.network, "run", watched)
    detector.detect(np.zeros((*shape, 3), np.uint8), options)
    assert max(sizes) == largest
