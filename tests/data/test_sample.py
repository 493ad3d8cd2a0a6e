from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from extd.data.datasets import with_sizes
from extd.data.sample import Sample
from extd.images import image_size, read_image

NONE = np.empty((0, 4), np.float32)


def save(path: Path, width: int = 40, height: int = 30, **options: Any) -> Path:
    ramp = np.arange(width * height * 3).reshape(height, width, 3) % 251
    image = Image.fromarray(ramp.astype(np.uint8)).convert(options.pop("mode", "RGB"))
    image.save(path, options.pop("kind", "JPEG"), **options)
    return path


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "L"},
        {"mode": "CMYK"},
        {"progressive": True},
        {"comment": b"c" * 60_000},
        {"icc_profile": b"i" * 200_000},
        *({"kind": kind} for kind in ("PNG", "WEBP", "AVIF")),
        *({"exif": turned(orientation)} for orientation in range(1, 9)),
        *({"exif": turned(orientation), "kind": "PNG"} for orientation in (1, 6)),
    ],
)
def test_sizes_are_those_of_the_pixels(options: dict[str, Any], tmp_path: Path) -> None:
    path = save(tmp_path / "a", **options)
    height, width = read_image(path).shape[:2]
    assert image_size(path) == (width, height)
    assert sorted((width, height)) == [30, 40]


def test_the_size_of_a_jpeg_is_read_without_its_pixels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\xff\xda")])
    assert image_size(path) == (40, 30)


def test_images_that_cannot_be_read_have_no_size(tmp_path: Path) -> None:
    good, bad, none = (tmp_path / name for name in ("good.jpg", "bad.jpg", "none.jpg"))
    save(good)
    bad.write_bytes(b"\xff\xd8 no image")
    samples = [Sample(path, 0, 0, NONE, NONE) for path in (bad, good, none)]
    sized = with_sizes(samples, tmp_path / "list.txt")
    assert [(one.width, one.height) for one in sized] == [(0, 0), (40, 30), (0, 0)]
    message = r"list\.txt .*none of the 2 can be read: there is no file .*none\.jpg.*images"
    with pytest.raises(ValueError, match=message):
        with_sizes([samples[2], samples[0]], tmp_path / "list.txt")


def test_only_unknown_sizes_are_read(tmp_path: Path) -> None:
    samples = [
        Sample(tmp_path / "none.jpg", 7, 5, NONE, NONE),
        Sample(save(tmp_path / "a.jpg"), 0, 0, NONE, NONE, "street"),
    ]
    sized = with_sizes(samples, tmp_path / "list.txt")
    assert [(one.width, one.height, one.source) for one in sized] == [
        (7, 5, ""),
        (40, 30, "street"),
    ]


@pytest.mark.shared
def test_sizes_of_real_images_are_those_of_their_pixels(shared: Path) -> None:
    for file in sorted((shared / "data/wider_dev/WIDER_val").rglob("*.jpg"))[::12]:
        height, width = read_image(file).shape[:2]
        assert image_size(file) == (width, height)
