from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from extd.data.check import (
    EDGES,
    SIZE_BINS,
    Finding,
    Kind,
    check_files,
    check_labels,
    summarize,
    summarize_sources,
    write_findings,
)
from extd.data.sample import Sample

Box = tuple[float, float, float, float]
NONE = np.empty((0, 4), np.float32)


def sample(path: str | Path, *boxes: Box, ignore: tuple[Box, ...] = (), source: str = "") -> Sample:
    return Sample(
        Path(path),
        100,
        80,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(ignore, np.float32).reshape(-1, 4),
        source,
    )


def kinds(*images: Sample) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.detail) for finding in check_labels(images)]


@pytest.mark.parametrize(
    ("box", "kind", "detail"),
    [
        ((10, 10, 10, 20), Kind.NO_AREA, "face 1: 0 x 10 px"),
        ((10, 10, 30, 5), Kind.NO_AREA, "face 1: 20 x -5 px"),
        ((10, float("nan"), 30, 40), Kind.NO_AREA, "face 1: 20 x nan px"),
        ((90, 10, 101.5, 20), Kind.PARTLY_OUTSIDE, "face 1 in 100 x 80 px"),
        ((-2, -3, 20, 20), Kind.PARTLY_OUTSIDE, "face 1 in 100 x 80 px"),
        ((10, 80, 20, 90), Kind.OUTSIDE, "face 1 in 100 x 80 px"),
        ((10, 10, float("inf"), 20), Kind.PARTLY_OUTSIDE, "face 1 in 100 x 80 px"),
    ],
)
def test_a_wrong_box_is_named(box: Box, kind: Kind, detail: str) -> None:
    (finding,) = check_labels([sample("a.jpg", box)])
    assert (finding.kind, finding.detail, finding.image) == (kind, detail, Path("a.jpg"))
    assert finding.box is not None
    np.testing.assert_array_equal(finding.box, box)


def test_boxes_up_to_the_borders_are_right() -> None:
    assert kinds(sample("a.jpg", (0, 0, 100, 80), (99.999, 0, 100.004, 1))) == []


def test_equal_boxes_in_one_image_are_named() -> None:
    box = (1.0, 2.0, 30.0, 40.0)
    other = (1.0, 2.0, 30.0, 41.0)
    assert kinds(sample("a.jpg", box, other, box, ignore=(box,)), sample("b.jpg", box)) == [
        (Kind.SAME_BOX, "face 3 is face 1 again"),
        (Kind.SAME_BOX, "ignored 1 is face 1 again"),
    ]


def test_an_image_that_is_listed_twice_is_named_once() -> None:
    assert kinds(sample("x/a.jpg"), sample("b.jpg"), sample("x/../x/a.jpg")) == [
        (Kind.SAME_PATH, "listed before")
    ]


def test_an_image_of_unknown_size_has_no_borders_to_go_beyond() -> None:
    nameless = Sample(Path("a.jpg"), 0, 0, sample("a.jpg", (9, 9, 90, 90)).boxes, NONE)
    assert [kind for kind, _ in kinds(nameless)] == [Kind.NO_SIZE]


@given(arrays.arrays(np.float32, (6, 4), elements=st.integers(-20, 120).map(float)))
def test_no_wrong_box_is_left_out(boxes: np.ndarray) -> None:
    """A box without a finding lies in the image and has an area."""
    boxes = np.unique(boxes, axis=0)
    found = {
        finding.box for finding in check_labels([sample("a.jpg", *map(tuple, boxes.tolist()))])
    }
    for box in map(tuple, boxes.tolist()):
        x1, y1, x2, y2 = box
        assert (box not in found) == (0 <= x1 < x2 <= 100 and 0 <= y1 < y2 <= 80)


def test_files_are_decoded_and_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (80, 100, 3), np.uint8)
    for name in ("good.png", "same.png", "same.bmp"):
        assert cv2.imwrite(str(tmp_path / name), pixels)
    assert cv2.imwrite(str(tmp_path / "turned.png"), pixels.transpose(1, 0, 2))
    (tmp_path / "broken.jpg").write_text("no image")
    names = ("good.png", "missing.jpg", "broken.jpg", "turned.png", "same.png", "same.bmp")
    images = [sample(tmp_path / name) for name in (*names, "good.png")]
    results = list(check_files(images, threads=2))
    assert [[finding.kind for finding in own] for own in results] == [
        [],
        [Kind.MISSING],
        [Kind.UNREADABLE],
        [Kind.OTHER_SIZE],
        [Kind.SAME_PIXELS],
        [Kind.SAME_PIXELS],
        [],
    ]
    assert results[3][0].detail == "80 x 100 px, but labeled 100 x 80"
    assert results[5][0].detail == f"the same pixels as {tmp_path / 'good.png'}"
    assert str(results[2][0]).startswith(f"{tmp_path / 'broken.jpg'}: is broken or not an image")


def test_faces_are_counted_by_the_root_of_their_area() -> None:
    sides = (0, 3.9, 4, 7.9, 16, 511, 512, 4000)
    boxes = [(0.0, 0.0, side * 2, side / 2) for side in sides]
    counted = summarize([sample("a.jpg", *boxes, ignore=((0, 0, 9, 9),)), sample("b.jpg")])
    assert dict(zip(SIZE_BINS, counted.sizes.tolist(), strict=True)) == {
        "no area": 1,
        "< 4": 1,
        "4-8": 2,
        "8-16": 0,
        "16-32": 1,
        "32-64": 0,
        "64-128": 0,
        "128-256": 0,
        "256-512": 1,
        ">= 512": 2,
    }
    assert (counted.images, counted.without_faces) == (2, 1)
    assert (counted.faces, counted.ignored) == (8, 1)


def test_an_empty_set_has_a_summary() -> None:
    assert summarize([]).sizes.tolist() == [0] * (len(EDGES) + 2)


def test_sources_are_counted_apart() -> None:
    box = (0.0, 0.0, 5.0, 5.0)
    images = [
        sample("a.jpg", box, source="x"),
        sample("b.jpg", box, source="y"),
        sample("c.jpg", box, box, source="y"),
    ]
    summaries = summarize_sources(images)
    assert [(one.source, one.images, one.faces) for one in summaries] == [("y", 2, 3), ("x", 1, 1)]
    assert (
        np.sum([one.sizes for one in summaries], axis=0).tolist()
        == summarize(images).sizes.tolist()
    )


def test_the_table_of_findings_holds_them_all(tmp_path: Path) -> None:
    findings = [
        Finding(Kind.NO_AREA, Path("a, b.jpg"), "face 1: 0 x 0.75 px", (1, 2.25, 1, 3)),
        Finding(Kind.MISSING, Path("c.jpg"), "no such file"),
    ]
    path = tmp_path / "new" / "findings.csv"
    write_findings(path, findings)
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == ["a, b.jpg", "c.jpg"]
    assert [rows[0][key] for key in ("kind", "x1", "y1", "x2", "y2", "detail")] == [
        "box without area",
        "1",
        "2.25",
        "1",
        "3",
        "face 1: 0 x 0.75 px",
    ]
    assert rows[1]["x1"] == ""


@pytest.mark.shared
def test_the_faults_of_real_labels_are_found(shared: Path) -> None:
    from extd.data.datasets import read_dataset

    findings = list(check_labels(read_dataset(shared / "data" / "train")))
    kinds = [finding.kind for finding in findings]
    counted = {kind: kinds.count(kind) for kind in Kind if kind in kinds}
    assert counted == {Kind.NO_AREA: 14, Kind.PARTLY_OUTSIDE: 12, Kind.SAME_BOX: 2}
