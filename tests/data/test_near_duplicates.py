from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from extd.data import near_duplicates
from extd.data.near_duplicates import MAX_DISTANCE, find_near_duplicates


@pytest.fixture
def photo(tmp_path: Path, examples: Path) -> tuple[Image.Image, Path]:
    """A photo, and the path of its file."""
    image = Image.open(examples / "astronaut.jpg").convert("RGB")
    image.save(path := tmp_path / "photo.png")
    return image, path


def test_resized_compressed_brighter_and_cropped_images_are_found(
    photo: tuple[Image.Image, Path], examples: Path, tmp_path: Path
) -> None:
    image, path = photo
    width, height = image.size
    copies = {
        "half.png": image.resize((width // 2, height // 2)),
        "small.jpg": image.resize((width // 4, height // 4)),
        "bright.png": ImageEnhance.Brightness(image).enhance(1.3),
        "dark.png": ImageEnhance.Brightness(image).enhance(0.7),
        "cropped.png": image.crop((width // 40, height // 40, width, height)),
    }
    for name, copy in copies.items():
        copy.save(tmp_path / name)
    image.save(tmp_path / "worse.jpg", quality=20)
    names = [*copies, "worse.jpg"]
    other = examples / "grace_hopper.jpg"
    pairs = find_near_duplicates([path], [other, *(tmp_path / name for name in names)])
    assert [pair.second.name for pair in pairs] == names
    assert {pair.first for pair in pairs} == {path}
    assert all(0 <= pair.distance <= MAX_DISTANCE for pair in pairs)
    within = find_near_duplicates([other, tmp_path / "half.png", path, path], threads=2)
    assert [(pair.first.name, pair.second.name) for pair in within] == [("half.png", "photo.png")]


def test_a_large_jpeg_is_reduced_and_found(photo: tuple[Image.Image, Path], tmp_path: Path) -> None:
    image, path = photo
    image.resize((1600, 1600)).save(tmp_path / "large.jpg")
    (pair,) = find_near_duplicates([path], [tmp_path / "large.jpg"])
    assert pair.distance < 10


def test_close_hashes_are_verified_by_pixels(
    photo: tuple[Image.Image, Path], examples: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image, path = photo
    image.resize((100, 100)).save(tmp_path / "small.png")
    others = [examples / "grace_hopper.jpg", tmp_path / "small.png"]
    monkeypatch.setattr(near_duplicates, "MAX_DISTANCE", 256)
    assert [pair.second.name for pair in find_near_duplicates([path], others)] == ["small.png"]


def test_images_that_cannot_be_read_are_left_out(
    photo: tuple[Image.Image, Path], tmp_path: Path
) -> None:
    _, path = photo
    (tmp_path / "broken.png").write_text("no image")
    wrong = [tmp_path / "broken.png", tmp_path / "missing.png"]
    assert find_near_duplicates(wrong) == find_near_duplicates(wrong, [path]) == []
    (pair,) = find_near_duplicates([*wrong, path], [*wrong, path])
    assert (pair.first, pair.second, pair.distance) == (path, path, 0)


def test_many_images_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK", 3)
    bits = np.random.default_rng(0).integers(0, 2, (10, 256)).astype(bool)
    bits[8] = bits[1]
    bits[8, :5] = ~bits[1, :5]
    close = list(near_duplicates._close(bits, bits))
    assert [pair for pair in close if pair[0] != pair[1]] == [(1, 8, 5), (8, 1, 5)]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(ImportError, match=r'imagehash; run: pip install "extd\[eval\]"'):
        find_near_duplicates([])
