from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.images import read_image
from extd.training.dataset import open_store, read_labels, sampling_shares


def test_labels_are_read_with_paths_beside_them(labels: Path) -> None:
    pictures = read_labels(labels)
    assert len(pictures) == 6
    assert pictures[1].path == labels.parent / "1.png"
    assert pictures[1].boxes.tolist() == [[15, 20, 39, 44], [100, 60, 130, 90]]
    assert {p.source for p in read_labels(labels, ["odd"])} == {"odd"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[5, 5, 5, 9]]}, r"line 7: box \[5.0, 5.0, 5.0, 9.0\] has no area"),
        ({"width": "wide"}, r"line 7"),
        ({"boxes": [[1, 2, 3]]}, r"line 7"),
    ],
)
def test_bad_lines_are_named(labels: Path, change: dict[str, object], message: str) -> None:
    entry = {"image": "0.png", "width": 160, "height": 120, "boxes": [], **change}
    labels.write_text(labels.read_text() + "\n" + json.dumps(entry), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_labels(labels)


def test_a_source_without_pictures_is_named(labels: Path) -> None:
    with pytest.raises(ValueError, match="no picture of source 'fddb'"):
        read_labels(labels, ["odd", "fddb"])


def test_the_store_holds_every_pixel_and_is_reused(labels: Path, tmp_path: Path) -> None:
    pictures = read_labels(labels)
    store = open_store(pictures, tmp_path / "cache")
    for index, picture in enumerate(pictures):
        assert np.array_equal(store.pixels(index), read_image(picture.path))
    (file,) = (tmp_path / "cache").iterdir()
    made = file.stat().st_mtime_ns
    open_store(pictures, tmp_path / "cache")
    assert file.stat().st_mtime_ns == made


def test_a_replaced_picture_is_decoded_again(labels: Path, tmp_path: Path) -> None:
    pictures = read_labels(labels)
    open_store(pictures, tmp_path / "cache")
    cv2.imwrite(str(pictures[0].path), np.full((120, 160, 3), 7, np.uint8))
    assert (open_store(pictures, tmp_path / "cache").pixels(0) == 7).all()


def test_a_broken_picture_is_named_and_leaves_nothing_behind(labels: Path, tmp_path: Path) -> None:
    (labels.parent / "4.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"4\.png is broken"):
        open_store(read_labels(labels), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_picture_of_another_size_is_named(labels: Path, tmp_path: Path) -> None:
    labels.write_text(labels.read_text().replace('"width": 160', '"width": 161'))
    with pytest.raises(ValueError, match=r"0\.png is 160x120 px; its label says 161x120"):
        open_store(read_labels(labels), tmp_path / "cache")


def test_sources_are_drawn_by_their_weight(labels: Path) -> None:
    pictures = read_labels(labels)
    shares = np.diff(sampling_shares(pictures, {"even": 3.0, "odd": 1.0}), prepend=0)
    assert shares[0] == pytest.approx(3 * shares[1])
    assert shares.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="positive weight"):
        sampling_shares(pictures, {"even": 0.0, "odd": 0.0})
