from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from extd.headers import encoded_size
from extd.images import read_image

KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {"format": "JPEG"},
    "JPEG, progressive, with a comment": {"format": "JPEG", "progressive": True, "comment": b"x"},
    "PNG": {"format": "PNG"},
    "GIF": {"format": "GIF"},
    "BMP": {"format": "BMP"},
    "WebP": {"format": "WEBP"},
    "WebP, lossless": {"format": "WEBP", "lossless": True},
    "WebP, extended": {"format": "WEBP", "icc_profile": b"profile "},
    "TIFF": {"format": "TIFF"},
    "TIFF, compressed": {"format": "TIFF", "compression": "tiff_lzw"},
    "BigTIFF": {"format": "TIFF", "big_tiff": True},
    "AVIF": {"format": "AVIF"},
}
REFUSED = {"PPM": {"format": "PPM"}, "JPEG 2000": {"format": "JPEG2000"}}


def encoded(kind: str, width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (9, 80, 200)).save(buffer, **(KINDS | REFUSED)[kind])
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (300, 17), (17, 3000)])
def test_every_format_tells_its_size(kind: str, size: tuple[int, int]) -> None:
    assert encoded_size(encoded(kind, *size)) == size
    assert encoded_size(memoryview(bytearray(encoded(kind, *size)))) == size


def test_an_offset_beyond_all_files_is_damage() -> None:
    assert encoded_size(b"II+\0\x08\0\0\0" + b"\xff" * 8) is None


def test_a_thumbnail_is_not_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    thumbnail = encoded("JPEG", 40, 30)
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200)).save(buffer, "JPEG", exif=exif.tobytes() + thumbnail)
    assert encoded_size(buffer.getvalue()) == (300, 200)


@pytest.mark.parametrize("stray", [b"\0", b"junk", b"\xff\0", b"\xff\xff", b"\xff\xd0"])
def test_what_decoders_pass_over_hides_no_size(stray: bytes) -> None:
    data = encoded("JPEG", 300, 17)
    # Behind the first segment.
    place = 4 + int.from_bytes(data[4:6], "big")
    data = data[:place] + stray + data[place:]
    with Image.open(io.BytesIO(data)) as picture:
        assert encoded_size(data) == picture.size == (300, 17)


def test_bmp_may_count_its_rows_downwards() -> None:
    data = bytearray(encoded("BMP", 30, 20))
    data[22:26] = (-20).to_bytes(4, "little", signed=True)
    assert encoded_size(data) == (30, 20)


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 400), st.binary(max_size=40))
def test_damaged_heads_give_a_size_or_none(kind: str, at: int, junk: bytes) -> None:
    data = encoded(kind, 30, 20)
    for damaged in (data[:at], data[:at] + junk + data[at + len(junk) :], junk):
        size = encoded_size(damaged)
        assert size is None or len(size) == 2


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8", b"GIF89a", b"BM"])
def test_other_bytes_have_no_size(data: bytes) -> None:
    assert encoded_size(data) is None


@pytest.mark.parametrize("kind", REFUSED)
def test_formats_whose_size_would_not_be_known_before_are_refused(kind: str) -> None:
    # OpenCV reads them, bombs and all.
    data = encoded(kind, 48, 32)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    assert encoded_size(data) is None
    with pytest.raises(ValueError, match="extd reads JPEG, PNG, WebP"):
        read_image(data)
