from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.data.check import check_labels
from extd.data.contact_sheet import (
    FACE,
    IGNORED,
    SUSPICIOUS,
    TILE,
    choose_samples,
    draw_contact_sheet,
)
from extd.data.sample import Sample


def sample(path: Path, boxes: object = (), ignore: object = (), source: str = "") -> Sample:
    return Sample(
        path,
        400,
        300,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(ignore, np.float32).reshape(-1, 4),
        source,
    )


@pytest.fixture
def gray(tmp_path: Path) -> Path:
    """An image as large as a tile, so that it is drawn as it is."""
    path = tmp_path / "gray.png"
    assert cv2.imwrite(str(path), np.full((TILE[1], TILE[0], 3), 128, np.uint8))
    return path


def test_frames_lie_around_faces_and_ignored_regions(gray: Path) -> None:
    sheet = draw_contact_sheet([sample(gray, [(50, 60, 90, 110)], [(200, 150, 260, 200)])])
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
    labeled = Sample(
        path,
        1600,
        1200,
        np.array([[1000, 700, 1008, 710]], np.float32),
        np.empty((0, 4), np.float32),
    )
    tile = draw_contact_sheet([labeled])[60 : 60 + TILE[1], 16 : 16 + TILE[0]]
    ys, xs = np.nonzero((tile == (255, 0, 0)).all(axis=2))
    assert 17 < xs.max() - xs.min() < 24
    frame_ys, frame_xs = np.nonzero((tile == FACE).all(axis=2))
    assert 0 < xs.min() - frame_xs.min() < 4
    assert 0 < frame_ys.max() - ys.max() < 4


def test_what_cannot_be_drawn_does_not_stop_the_sheet(gray: Path, tmp_path: Path) -> None:
    wild = [(float("nan"), 0, 5, 5), (-1e9, -1e9, 1e9, 1e9), (9, 9, 9, 9), (500, 500, 600, 600)]
    sheet = draw_contact_sheet(
        [sample(gray, wild), sample(tmp_path / "missing.jpg", [(1, 1, 9, 9)])]
    )
    assert sheet.shape[1] > 2 * TILE[0]
    assert draw_contact_sheet([]).ndim == 3


def test_samples_come_evenly_from_the_sources_and_from_the_seed() -> None:
    samples = [
        sample(Path(f"{source}{number}.jpg"), source=source)
        for source, size in (("a", 50), ("b", 9), ("c", 2))
        for number in range(size)
    ]
    chosen = choose_samples(samples, 12, seed=1)
    assert Counter(one.source for one in chosen) == {"a": 5, "b": 5, "c": 2}
    names = [one.path for one in chosen]
    assert len(set(names)) == 12
    assert names == [one.path for one in choose_samples(samples, 12, seed=1)]
    assert names != [one.path for one in choose_samples(samples, 12, seed=2)]
    assert len(choose_samples(samples, 100, seed=0)) == 61


def test_suspicious_boxes_come_first_and_stand_out(gray: Path, tmp_path: Path) -> None:
    samples = [sample(tmp_path / f"{number}.png", [(1, 1, 9, 9)]) for number in range(50)]
    samples.append(sample(gray, [(350, 60, 420, 110), (50, 60, 90, 110)]))
    findings = list(check_labels(samples))
    for seed in range(3):
        assert samples[-1] in choose_samples(samples, 2, seed, [gray])
    sheet = draw_contact_sheet(samples, findings, 1)
    tile = sheet[60 : 60 + TILE[1], 16 : 16 + TILE[0]]
    columns = {color: (tile == color).all(axis=2).any(axis=0) for color in (SUSPICIOUS, FACE)}
    assert columns[SUSPICIOUS][345:350].any()
    assert not columns[SUSPICIOUS][:345].any()
    assert columns[FACE][:100].any()
    assert not columns[FACE][100:].any()


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="count is 0; give 1 or more"):
        draw_contact_sheet([], count=0)


def test_a_long_name_keeps_to_its_tile(gray: Path, tmp_path: Path) -> None:
    name = gray.rename(tmp_path / ("a name that is much too long " * 6 + ".png"))
    sheet = draw_contact_sheet([sample(name), sample(tmp_path / "b.png")])
    gap = sheet[60 + TILE[1] :, 16 + TILE[0] : 32 + TILE[0]]
    assert (gap == 255).all()
