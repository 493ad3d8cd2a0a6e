from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from extd.boxes import iou
from extd.detections import Detections
from extd.detector import Detector, Options
from extd.images import read_image
from extd.tiles import CONTEXT, STRIDE, are_cut, belong, merge, place_tiles, shrink

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
    counting = [tile for tile in tiles if belong(point, tile, side - step)[0]]
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
    assert any((belong(box, tile, side - step) & ~are_cut(box, tile)).all() for tile in tiles)


LEFT, RIGHT = place_tiles(1792, 1024, 1024, 768)
NONE = Detections(*(np.empty(shape, np.float32) for shape in ((0, 4), 0, (0, 0, 2))))


def found(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    return Detections(
        np.array(boxes, np.float32),
        np.full(len(boxes), score, np.float32),
        np.empty((len(boxes), 0, 2), np.float32),
    )


def test_a_box_near_an_inner_edge_is_cut_and_at_the_border_it_is_not() -> None:
    boxes, *_ = found((900, 9, 1020, 90), (0, 0, 80, 80), (800, 900, 900, 1024))
    assert are_cut(boxes, LEFT).tolist() == [True, False, False]
    assert are_cut(found((769, 9, 900, 90))[0], RIGHT).tolist() == [True]


def test_a_cut_box_goes_where_a_neighbor_has_the_whole_face() -> None:
    part, whole = (820, 400, 1020, 600), (820, 400, 1050, 600)
    tiles = [(LEFT, found(part)), (RIGHT, found(whole, score=0.5))]
    boxes, scores, _ = merge(tiles, NONE, 256, 0.3)
    assert boxes.tolist() == [list(whole)]
    assert scores.tolist() == [0.5]
    # Nobody else has it: better a part than nothing.
    boxes, *_ = merge([(LEFT, found(part)), (RIGHT, NONE)], NONE, 256, 0.3)
    assert boxes.tolist() == [list(part)]


def test_the_overview_has_the_faces_that_no_tile_has_whole() -> None:
    left, right, face = (500, 300, 1020, 900), (772, 300, 1300, 900), (500, 300, 1300, 900)
    tiles = [(LEFT, found(left)), (RIGHT, found(right))]
    boxes, *_ = merge(tiles, found(face, score=0.6), 256, 0.3)
    assert boxes.tolist() == [list(face)]


def test_a_tile_is_more_exact_than_the_overview() -> None:
    tiles = [(LEFT, found((100, 100, 300, 300))), (RIGHT, NONE)]
    # The second is small: tiles see it better, and did not.
    overview = found((110, 95, 310, 330), (600, 600, 640, 640), score=0.99)
    boxes, *_ = merge(tiles, overview, 256, 0.3)
    assert boxes.tolist() == [[100, 100, 300, 300]]


def test_shrinking_takes_means() -> None:
    checks = (np.indices((40, 80)).sum(0) % 2 * 200).astype(np.uint8)[:, :, None].repeat(3, 2)
    small = shrink(checks, 20)
    assert small.shape == (10, 20, 3)
    assert (small == 100).all()
    assert shrink(checks[:1], 20).shape == (1, 20, 3)


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


# Faces so small that none counts where the overview has it.
cells = st.tuples(st.integers(0, 49), st.integers(0, 37), st.integers(80, 255), st.integers(1, 12))


@settings(max_examples=15)
@given(st.lists(cells, max_size=12), st.booleans(), st.sampled_from([0, 90, 180, 270]))
def test_tiles_are_not_seen_in_the_result(
    toy: str, faces: list[tuple[int, int, int, int]], flip: bool, rotation: int
) -> None:
    image = np.zeros((304, 400, 3), np.uint8)
    for column, row, red, green in faces:
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
        ((4096, 4104), Options(), (1024, 1024)),
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

    def watched(images: NDArray[np.uint8], threshold: float) -> list[Detections]:
        sizes.append(images.shape[1:3])
        return run(images, threshold)

    monkeypatch.setattr(detector.network, "run", watched)
    detector.detect(np.zeros((*shape, 3), np.uint8), options)
    assert max(sizes) == largest
