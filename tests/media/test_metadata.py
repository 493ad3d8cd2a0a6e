from __future__ import annotations

import struct
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms

from extd.images import read_image
from extd.media.writers import check_replaceable, read_metadata, upright_exif, write_image

ORIENTATION, MAKE, EXIF, GPS = 0x0112, 0x010F, 0x8769, 0x8825
WIDTH, HEIGHT, NOTES, COMMENT, TAKEN = 0xA002, 0xA003, 0x927C, 0x9286, 0x9003
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
THUMBNAIL = b"\xff\xd8the face as it was\xff\xd9"


def source(orientation: int = 6) -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    exif[MAKE] = "Camera Works"
    exif[0x8649] = bytes(600)
    exif.get_ifd(EXIF).update({WIDTH: 60, HEIGHT: 40, TAKEN: "2024:05:06 07:08:09"})
    exif.get_ifd(EXIF).update({NOTES: THUMBNAIL, COMMENT: b"short"})
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 12.0, 30.5)})
    return exif


def with_thumbnail(exif: bytes) -> bytes:
    """The structure followed by a second directory, of a thumbnail."""
    order = "<" if exif[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, start)
    exif += b"\0" * (len(exif) % 2)
    following = len(exif)
    link = start + 2 + 12 * count
    exif = exif[:link] + struct.pack(order + "I", following) + exif[link + 4 :]
    after = following + 2 + 24 + 4
    return (
        exif
        + struct.pack(order + "H", 2)
        + struct.pack(order + "HHII", 0x0201, 4, 1, after)
        + struct.pack(order + "HHII", 0x0202, 4, 1, len(THUMBNAIL))
        + bytes(4)
        + THUMBNAIL
    )


def save(path: Path, exif: bytes) -> Path:
    image = Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    image.save(path, exif=exif, icc_profile=PROFILE)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_what_is_kept_fits_the_upright_pixels_and_shows_no_face(
    tmp_path: Path, suffix: str
) -> None:
    taken = save(tmp_path / f"taken{suffix}", b"Exif\0\0" + with_thumbnail(source().tobytes()[6:]))
    assert THUMBNAIL in taken.read_bytes()
    kept = tmp_path / f"kept{suffix}"
    write_image(kept, read_image(taken), read_metadata(taken))
    assert THUMBNAIL not in kept.read_bytes()
    with Pillow.open(kept) as image:
        exif = image.getexif()
        assert image.info["icc_profile"] == PROFILE
        assert image.size == (40, 60)
    assert exif[ORIENTATION] == 1
    assert exif[MAKE] == "Camera Works"
    assert set(exif) == {ORIENTATION, MAKE, EXIF, GPS}
    details = exif.get_ifd(EXIF)
    assert details == {WIDTH: 40, HEIGHT: 60, TAKEN: "2024:05:06 07:08:09", COMMENT: b"short"}
    assert exif.get_ifd(GPS) == {1: "N", 2: (48.0, 12.0, 30.5)}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_nothing_is_kept_by_default(tmp_path: Path, suffix: str) -> None:
    taken = save(tmp_path / f"taken{suffix}", source().tobytes())
    bare = tmp_path / f"bare{suffix}"
    write_image(bare, read_image(taken))
    with Pillow.open(bare) as image:
        assert not image.getexif()
        assert not {"exif", "icc_profile", "xmp", "comment"} & set(image.info)
    assert read_metadata(bare) == {}


def test_avif_gives_exif_and_other_formats_nothing(tmp_path: Path) -> None:
    exif = read_metadata(save(tmp_path / "a.avif", source().tobytes()))["exif"]
    assert b"Camera Works" in exif
    assert read_metadata(save(tmp_path / "a.tif", source().tobytes())) == {}


def test_a_profile_of_other_than_rgb_pixels_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    cmyk = PROFILE[:16] + b"CMYK" + PROFILE[20:]
    Pillow.new("CMYK", (8, 8)).save(path, icc_profile=cmyk)
    assert read_metadata(path) == {}


@pytest.mark.parametrize("order", [b"II", b"MM"])
def test_both_byte_orders_are_read_and_a_second_time_nothing_changes(order: bytes) -> None:
    exif = Pillow.Exif()
    exif.endian = "<" if order == b"II" else ">"
    exif[ORIENTATION], exif[MAKE] = 3, "Camera Works"
    written = exif.tobytes()[6:]
    assert written[:2] == order
    clean = upright_exif(written)
    assert clean[:8] == b"Exif\0\0" + order
    assert upright_exif(clean) == clean
    again = Pillow.Exif()
    again.load(clean)
    assert dict(again) == {ORIENTATION: 1, MAKE: "Camera Works"}


@given(st.binary(max_size=60), st.integers(0, 300), st.integers(0, 255))
def test_broken_exif_is_refused_or_read_but_never_crashes(
    tail: bytes, place: int, value: int
) -> None:
    exif = bytearray(source().tobytes()[6:])
    exif[place % len(exif)] = value
    for broken in (b"MM\0*" + tail, bytes(exif), bytes(exif[:place])):
        with suppress(ValueError):
            upright_exif(broken)


def test_an_error_names_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Pillow.new("RGB", (8, 8)).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09")
    with pytest.raises(ValueError, match=r"a\.jpg: its EXIF is broken.*write it without metadata"):
        read_metadata(path)


def test_metadata_that_does_not_fit_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    large = {"exif": b"MM\0*" + bytes(70_000)}
    with pytest.raises(ValueError, match=r"a\.jpg.*metadata"):
        write_image(tmp_path / "a.jpg", np.zeros((8, 8, 3), np.uint8), large)
    assert list(tmp_path.iterdir()) == []
    capfd.readouterr()


def test_formats_that_are_not_written_are_not_replaced(tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8)).save(tmp_path / "still.jpg")
    check_replaceable(tmp_path / "still.jpg")
    with pytest.raises(ValueError, match="not written"):
        check_replaceable(tmp_path / "a.bmp")


def test_what_would_lose_transparency_or_depth_is_not_replaced(tmp_path: Path) -> None:
    Pillow.new("RGBA", (8, 8), (255, 0, 0, 128)).save(tmp_path / "clear.png")
    check_replaceable(tmp_path / "clear.png")
    (tmp_path / "clear.png").rename(tmp_path / "clear.jpg")
    with pytest.raises(ValueError, match="transparent"):
        check_replaceable(tmp_path / "clear.jpg")
    Pillow.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="16 bits"):
        check_replaceable(tmp_path / "deep.png")


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_a_name_that_is_not_utf_8_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "b\udce9.png"
    Pillow.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(path)
    check_replaceable(path)


def test_values_of_more_bytes_than_the_exif_are_refused() -> None:
    """Thousands of entries that share a value would be written out one by one."""
    count = 2000
    end = 10 + 12 * count + 4
    entries = [struct.pack("<HHII", 0x9000 + i, 2, 30_000, end) for i in range(count)]
    exif = b"II*\0" + struct.pack("<IH", 8, count) + b"".join(entries) + bytes(4 + 30_000)
    with pytest.raises(ValueError, match="its EXIF is broken: Tag data larger than file"):
        upright_exif(exif)
