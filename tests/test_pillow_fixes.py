from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import extd
from extd.images import image_size, read_image


def cropped(*clap: int, orientation: int = 1) -> bytes:
    """A 64 x 48 AVIF, red on the left and black on the right, with a clean aperture."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :32, 0] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "AVIF", quality=95, exif=exif)
    data = bytearray(stream.getvalue())
    added = struct.pack(">I4sIIIIiIiI", 40, b"clap", *clap)
    begins = {kind: data.index(kind) for kind in (b"meta", b"iprp", b"ipco", b"ipma", b"iloc")}
    for kind, more in ((b"meta", 41), (b"iprp", 41), (b"ipco", 40), (b"ipma", 1)):
        (length,) = struct.unpack_from(">I", data, begins[kind] - 4)
        struct.pack_into(">I", data, begins[kind] - 4, length + more)
    # The image data move.
    (offset,) = struct.unpack_from(">I", data, begins[b"iloc"] + 18)
    struct.pack_into(">I", data, begins[b"iloc"] + 18, offset + 41)
    ipma = begins[b"ipma"]
    data[ipma + 14] += 1
    (length,) = struct.unpack_from(">I", data, ipma - 4)
    count = data[ipma + 14]
    data.insert(ipma - 4 + length - 1, 0x80 | count)
    data[ipma - 4 : ipma - 4] = added
    return bytes(data)


def test_a_crop_is_honored(tmp_path: Path, toy: str) -> None:
    path = tmp_path / "a.avif"
    # 20 x 10 px, 16 to the right of the center and 4 above it.
    path.write_bytes(cropped(20, 1, 10, 1, 16, 1, -4, 1))
    assert read_image(path).shape == (10, 20, 3)
    assert image_size(path) == (20, 10)
    assert read_image(path)[..., 0].max() < 20
    extd.blur_image(path, tmp_path / "b.avif", extd.Detector(toy))
    assert read_image(tmp_path / "b.avif").shape == (10, 20, 3)
    path.write_bytes(cropped(41, 2, 10, 1, -32, 2, 0, 1))
    # From 5.75 to 26.25: what is not whole is left out.
    assert read_image(path).shape == (10, 20, 3)
    assert read_image(path)[..., 0].min() > 235


def test_a_crop_comes_before_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    path.write_bytes(cropped(20, 1, 10, 1, 16, 1, -4, 1, orientation=6))
    assert read_image(path).shape == (20, 10, 3)
    assert image_size(path) == (10, 20)


@pytest.mark.parametrize(
    "clap", [(20, 0, 10, 1, 0, 1, 0, 1), (70, 1, 10, 1, 0, 1, 0, 1), (20, 1, 10, 1, 30, 1, 0, 1)]
)
def test_a_crop_that_is_none_is_refused(tmp_path: Path, clap: tuple[int, ...]) -> None:
    path = tmp_path / "a.avif"
    path.write_bytes(cropped(*clap))
    with pytest.raises(ValueError, match=r"a\.avif is broken: its clean aperture"):
        read_image(path)
