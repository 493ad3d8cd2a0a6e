from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.data.check import tally_by_source
from extd.data.sample import Sample
from extd.data.sheet import (
    BARS,
    FACE,
    IGNORED,
    TILE,
    choose_samples,
    draw_histogram,
    draw_sheet,
    write,
)


def picture(path: Path, boxes: object = (), ignore: object = (), source: str = "") -> Sample:
    return Sample(
        path,
        400,
        300,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(ignore, np.float32).reshape(-1, 4),
        source,
    )


def has(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((image == color).all(axis=2).any())


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """A picture as large as a tile, so that it is drawn as it is."""
    path = tmp_path / "grey.png"
    assert cv2.imwrite(str(path), np.full((TILE[1], TILE[0], 3), 128, np.uint8))
    return path


def test_frames_lie_around_faces_and_ignored_regions(grey: Path) -> None:
    sheet = draw_sheet([picture(grey, [(50, 60, 90, 110)], [(200, 150, 260, 200)])])
    tile = sheet[60 : 60 + TILE[1], 16 : 16 + TILE[0]]
    for color, (x1, y1, x2, y2) in ((FACE, (50, 60, 90, 110)), (IGNORED, (200, 150, 260, 200))):
        ys, xs = np.nonzero((tile == color).all(axis=2))
        assert x1 - 3 <= xs.min() < x1
        assert y1 - 3 <= ys.min() < y1
        assert x2 <= xs.max() < x2 + 3
        assert y2 <= ys.max() < y2 + 3
        # What is in the box stays to be seen.
        assert (tile[y1:y2, x1:x2] == 128).all()


def test_tiny_faces_are_shown_enlarged(tmp_path: Path) -> None:
    pixels = np.full((1200, 1600, 3), 128, np.uint8)
    pixels[700:710, 1000:1008] = (0, 0, 255)
    path = tmp_path / "large.png"
    assert cv2.imwrite(str(path), pixels)
    labelled = Sample(
        path,
        1600,
        1200,
        np.array([[1000, 700, 1008, 710]], np.float32),
        np.empty((0, 4), np.float32),
    )
    tile = draw_sheet([labelled])[60 : 60 + TILE[1], 16 : 16 + TILE[0]]
    ys, xs = np.nonzero((tile == (255, 0, 0)).all(axis=2))
    assert 17 < xs.max() - xs.min() < 24
    frame_ys, frame_xs = np.nonzero((tile == FACE).all(axis=2))
    assert 0 < xs.min() - frame_xs.min() < 4
    assert 0 < frame_ys.max() - ys.max() < 4


def test_what_cannot_be_drawn_does_not_stop_the_sheet(grey: Path, tmp_path: Path) -> None:
    wild = [(float("nan"), 0, 5, 5), (-1e9, -1e9, 1e9, 1e9), (9, 9, 9, 9), (500, 500, 600, 600)]
    sheet = draw_sheet([picture(grey, wild), picture(tmp_path / "missing.jpg", [(1, 1, 9, 9)])])
    assert sheet.shape[1] > 2 * TILE[0]
    assert draw_sheet([]).ndim == 3


def test_samples_come_evenly_from_the_sources_and_from_the_seed() -> None:
    pictures = [
        picture(Path(f"{source}{number}.jpg"), source=source)
        for source, size in (("a", 50), ("b", 9), ("c", 2))
        for number in range(size)
    ]
    chosen = choose_samples(pictures, 12, seed=1)
    assert Counter(one.source for one in chosen) == {"a": 5, "b": 5, "c": 2}
    names = [one.path for one in chosen]
    assert len(set(names)) == 12
    assert names == [one.path for one in choose_samples(pictures, 12, seed=1)]
    assert names != [one.path for one in choose_samples(pictures, 12, seed=2)]
    assert len(choose_samples(pictures, 100, seed=0)) == 61


@pytest.mark.parametrize("name", ["count", "columns"])
def test_a_sheet_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0; give 1 or more"):
        draw_sheet([], **{name: 0})


def test_bars_are_as_high_as_there_are_faces() -> None:
    small, large = (0, 0, 5, 5), (0, 0, 100, 100)
    pictures = [
        picture(Path("a.jpg"), [large] * 4, source="x"),
        picture(Path("b.jpg"), [small] * 2, source="x"),
        picture(Path("c.jpg"), [small] * 2 + [large] * 6, source="y"),
    ]
    drawn = draw_histogram(tally_by_source(pictures), "title")
    # The legend repeats the colours below the bars.
    bars = drawn[:391]
    first, second = ((bars == color).all(axis=2) for color in BARS[:2])
    heights = {column.sum() for column in (first | second).T if column.any()}
    assert heights == {128, 320}
    assert {column.sum() for column in first.T if column.any()} == {64, 128}
    assert has(drawn[391:], BARS[1])


def test_a_histogram_of_no_face_is_drawn() -> None:
    assert not has(draw_histogram(tally_by_source([picture(Path("a.jpg"))]), "none"), BARS[0])


def test_a_line_keeps_to_its_width() -> None:
    canvas = np.full((40, 600, 3), 255, np.uint8)
    assert write(canvas, "a name that is much too long " * 4, (10, 25), 12, (0, 0, 0), 150) <= 164
    assert (canvas[:, 165:] == 255).all()
    assert (canvas[:, :165] < 128).any()
