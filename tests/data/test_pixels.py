from __future__ import annotations

import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from extd.data.pixels import (
    is_file,
    read_bytes,
    read_pixels,
    read_size,
    read_sizes,
    with_sizes,
)
from extd.data.sample import Sample
from extd.images import read_image

NONE = np.empty((0, 4), np.float32)


def jpeg(width: int, height: int, **options: Any) -> bytes:
    ramp = np.arange(width * height * 3).reshape(height, width, 3) % 251
    image = Image.fromarray(ramp.astype(np.uint8)).convert(options.pop("mode", "RGB"))
    stream = io.BytesIO()
    image.save(stream, options.pop("kind", "JPEG"), **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for number in range(8):
            bundle.writestr(f"in/{number}.jpg", jpeg(40 + number, 30))
        bundle.writestr("in/broken.jpg", b"no picture")
    return path


def test_members_of_archives_are_read_by_many_threads(archive: Path) -> None:
    paths = [archive / "in" / f"{number % 8}.jpg" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read_pixels, paths))
    for number, image in enumerate(found):
        assert np.array_equal(image, read_image(jpeg(40 + number % 8, 30)))


def test_files_and_members_that_are_missing_or_broken_are_named(
    archive: Path, tmp_path: Path
) -> None:
    assert is_file(archive / "in/0.jpg")
    assert not is_file(archive / "in/9.jpg")
    assert not is_file(archive / "in")
    with pytest.raises(FileNotFoundError, match=r"there is no in/9\.jpg in .*faces\.zip"):
        read_pixels(archive / "in/9.jpg")
    with pytest.raises(ValueError, match=r"faces\.zip/in/broken\.jpg is broken or not an image"):
        read_pixels(archive / "in/broken.jpg")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.jpg"):
        read_bytes(tmp_path / "none.jpg")
    archive.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"in/0\.jpg cannot be read: File is not a zip file"):
        read_pixels(archive / "in/0.jpg")


def test_an_archive_that_was_replaced_is_opened_anew(archive: Path) -> None:
    assert read_pixels(archive / "in/0.jpg").shape == (30, 40, 3)
    other = archive.with_suffix(".new")
    with zipfile.ZipFile(other, "w") as bundle:
        bundle.writestr("in/0.jpg", jpeg(9, 7))
    other.replace(archive)
    assert read_pixels(archive / "in/0.jpg").shape == (7, 9, 3)


def test_a_folder_may_be_called_like_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(jpeg(40, 30))
    assert read_pixels(path).shape == (30, 40, 3)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files")
def test_few_archives_stay_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for number in range(30):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as bundle:
            bundle.writestr("a.jpg", jpeg(9, 7))
        read_pixels(tmp_path / f"{number}.zip" / "a.jpg")
    assert len(os.listdir("/proc/self/fd")) <= before + 8  # noqa: PTH208


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "L"},
        {"mode": "CMYK"},
        {"progressive": True},
        {"comment": b"c" * 60_000},
        {"icc_profile": b"i" * 200_000},
        {"kind": "PNG"},
        {"kind": "WEBP"},
        {"kind": "AVIF"},
        *({"exif": turned(orientation)} for orientation in range(1, 9)),
        *({"exif": turned(orientation), "kind": "PNG"} for orientation in (1, 6)),
    ],
)
def test_sizes_are_those_of_the_pixels(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(jpeg(40, 30, **options))
    height, width = read_image(path).shape[:2]
    assert read_size(path) == (width, height)
    assert sorted((width, height)) == [30, 40]


def test_the_size_of_a_jpeg_is_read_without_its_pixels(tmp_path: Path) -> None:
    data = jpeg(40, 30)
    path = tmp_path / "a.jpg"
    path.write_bytes(data[: data.index(b"\xff\xda")])
    assert read_size(path) == (40, 30)


def test_pictures_that_cannot_be_read_have_no_size(tmp_path: Path) -> None:
    good, bad, none = (tmp_path / name for name in ("good.jpg", "bad.jpg", "none.jpg"))
    good.write_bytes(jpeg(40, 30))
    bad.write_bytes(b"\xff\xd8 no picture")
    told: list[tuple[int, int]] = []
    sizes = read_sizes([bad, good, none], tmp_path / "list.txt", lambda *now: told.append(now))
    assert sizes == [(0, 0), (40, 30), (0, 0)]
    assert told == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(
        ValueError,
        match=r"list\.txt .*none of the 2 can be read: there is no file .*none\.jpg.*images",
    ):
        read_sizes([none, bad], tmp_path / "list.txt")
    assert read_sizes([], tmp_path / "list.txt") == []


def test_only_sizes_that_are_not_known_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(40, 30))
    pictures = [
        Sample(tmp_path / "none.jpg", 7, 5, NONE, NONE),
        Sample(tmp_path / "a.jpg", 0, 0, NONE, NONE, "street"),
    ]
    sized = with_sizes(pictures, tmp_path / "list.txt")
    assert [(one.width, one.height, one.source) for one in sized] == [
        (7, 5, ""),
        (40, 30, "street"),
    ]


@pytest.mark.shared
def test_sizes_of_real_pictures_are_those_of_their_pixels(shared: Path) -> None:
    files = sorted((shared / "data/wider_dev/WIDER_val").rglob("*.jpg"))[::12]
    for file in files:
        height, width = read_image(file).shape[:2]
        assert read_size(file) == (width, height)
