from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin

from extd.images import image_size, read_image, read_reduced, resize

Pixels = NDArray[np.uint8]
ROW, COLUMN = np.mgrid[:32, :48]
# Differs from each of its mirrored and turned copies, and in every channel.
RAMP: Pixels = np.stack([COLUMN * 5, ROW * 8, (ROW + COLUMN) * 3], 2).astype(np.uint8)
QUADRANTS = np.kron(
    np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8),
    np.ones((16, 24, 1), np.uint8),
)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seen_by_pil(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return over_gray(ImageOps.exif_transpose(image))


def over_gray(image: Image.Image) -> Pixels:
    gray = Image.new("RGBA", image.size, (128, 128, 128))
    return np.asarray(Image.alpha_composite(gray, image.convert("RGBA")).convert("RGB"))


def assert_close(image: Pixels, expected: Pixels, levels: int) -> None:
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= levels


SOURCE = Image.fromarray(RAMP)
FILES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encoded(SOURCE, "JPEG"),
    "JPEG, CMYK": lambda: encoded(SOURCE.convert("CMYK"), "JPEG"),
    "JPEG, gray": lambda: encoded(SOURCE.convert("L"), "JPEG"),
    "JPEG, progressive": lambda: encoded(SOURCE, "JPEG", progressive=True),
    "PNG": lambda: encoded(SOURCE, "PNG"),
    "PNG, palette": lambda: encoded(SOURCE.quantize(50), "PNG"),
    "PNG, palette, transparent": lambda: encoded(SOURCE.quantize(50), "PNG", transparency=3),
    "PNG, alpha": lambda: encoded(SOURCE.convert("RGBA"), "PNG"),
    "PNG, gray and alpha": lambda: encoded(SOURCE.convert("LA"), "PNG"),
    "PNG, 1 bit": lambda: encoded(SOURCE.convert("1"), "PNG"),
    "WebP": lambda: encoded(SOURCE, "WEBP", lossless=True),
    "WebP, alpha": lambda: encoded(SOURCE.convert("RGBA"), "WEBP", lossless=True),
    "AVIF": lambda: encoded(SOURCE, "AVIF"),
    "AVIF, alpha": lambda: encoded(SOURCE.convert("RGBA"), "AVIF"),
    "TIFF": lambda: encoded(SOURCE, "TIFF"),
    "TIFF, LZW": lambda: encoded(SOURCE, "TIFF", compression="tiff_lzw"),
    "TIFF, CMYK": lambda: encoded(SOURCE.convert("CMYK"), "TIFF"),
    "TIFF, palette": lambda: encoded(SOURCE.quantize(50), "TIFF"),
    "TIFF, alpha": lambda: encoded(SOURCE.convert("RGBA"), "TIFF"),
    "BMP": lambda: encoded(SOURCE, "BMP"),
    "BMP, palette": lambda: encoded(SOURCE.quantize(50), "BMP"),
    "GIF": lambda: encoded(SOURCE.quantize(50), "GIF"),
    "GIF, first of two": lambda: encoded(
        SOURCE.quantize(50), "GIF", save_all=True, append_images=[Image.new("P", (48, 32))]
    ),
    "1 x 1": lambda: encoded(Image.new("RGB", (1, 1), (9, 80, 200)), "PNG"),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_has_the_pixels_that_pil_sees(kind: str) -> None:
    data = FILES[kind]()
    image = read_image(data)
    assert image.flags.c_contiguous
    assert_close(image, seen_by_pil(data), levels=2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(QUADRANTS), kind, exif=exif)
    upright = seen_by_pil(data)
    assert (mean_difference(upright, QUADRANTS) > 50) == (orientation != 1)
    with Image.open(io.BytesIO(data)) as opened:
        for image in (read_image(data), read_image(opened)):
            assert mean_difference(image, upright) < 9


def mean_difference(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(int) - b).mean()) if a.shape == b.shape else 255.0


def test_avif_rotation_counts_and_its_exif_does_not() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    tiff = np.frombuffer(exif.tobytes()[6:], np.uint8)
    written, buffer = cv2.imencodeWithMetadata(
        ".avif", QUADRANTS, [cv2.IMAGE_METADATA_EXIF], [tiff]
    )
    data = bytearray(buffer.tobytes())
    assert written
    assert tiff.tobytes() in data
    assert read_image(data).shape == (48, 32, 3)
    data[data.index(b"irot") + 4] = 0
    assert read_image(data).shape == (32, 48, 3)


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


WIDE = RAMP.astype(np.uint16) * 257


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_files_of_16_bits_keep_their_brightness(suffix: str) -> None:
    color = cv2.imencode(suffix, WIDE[:, :, ::-1])[1].tobytes()
    assert np.array_equal(read_image(color), RAMP)
    gray = cv2.imencode(suffix, WIDE[:, :, 0])[1].tobytes()
    assert np.array_equal(read_image(gray), RAMP[:, :, [0, 0, 0]])
    steps = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = read_image(cv2.imencode(suffix, steps)[1].tobytes())
    assert_close(image[:, :, 0], np.rint(steps / 257).astype(np.uint8), levels=1)


def test_png_of_16_bits_with_alpha() -> None:
    pixels = np.dstack([WIDE, np.full((32, 48), 12345, np.uint16)]).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    expected = 128 + (RAMP - 128.0) * 12345 / 65535
    assert_close(read_image(png(48, 32, 16, 6, rows)), expected.round().astype(np.uint8), levels=1)


@pytest.mark.parametrize("depth", [10, 12])
def test_avif_of_more_than_8_bits(depth: int) -> None:
    pixels = (WIDE >> (16 - depth))[:, :, ::-1]
    options = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 100]
    assert_close(read_image(cv2.imencode(".avif", pixels, options)[1].tobytes()), RAMP, levels=2)


def test_path_text_bytes_and_file_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "Gr\u00fc\u00dfe \u5bb6\u65cf.png"
    data = encoded(SOURCE, "PNG")
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), io.BytesIO(data)):
        assert np.array_equal(read_image(source), RAMP)
    with path.open("rb") as file:
        assert np.array_equal(read_image(file), RAMP)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"])
def test_a_truncated_file_is_named(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (90, 90, 3), dtype=np.uint8))
    path = tmp_path / f"cut.{kind.lower()}"
    data = encoded(noise, kind)
    for length in (10, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"cut\.\w+ is broken"):
            read_image(path)


def test_empty_foreign_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "nothing.jpg"
    with pytest.raises(FileNotFoundError, match=r"nothing\.jpg"):
        read_image(path)
    path.touch()
    with pytest.raises(ValueError, match=r"nothing\.jpg is empty"):
        read_image(path)
    path.write_text("<html>")
    with pytest.raises(ValueError, match=r"nothing\.jpg is broken or not an image"):
        read_image(path)
    with path.open("rb") as file, pytest.raises(ValueError, match=r"nothing\.jpg is broken"):
        read_image(file)
    with path.open() as text, pytest.raises(ValueError, match='open it with "rb"'):
        read_image(text)
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(40000, 40000, 8, 0, bytes(100)))
    told = r"bomb\.png has 40,000 x 40,000 pixels in 69 bytes, more than 62,500,000; raise"
    with pytest.raises(ValueError, match=told):
        read_image(path)
    with pytest.raises(ValueError, match=r"bomb\.png is broken"):
        read_image(path, max_pixels=1 << 34)
    path.write_bytes(FILES["PNG"]())
    assert read_image(path, max_pixels=32 * 48).shape == (32, 48, 3)
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        with pytest.raises(ValueError, match=r"48 x 32 pixels in .* more than 1,535"):
            read_image(source, max_pixels=32 * 48 - 1)


@pytest.mark.parametrize("name", [b"Gr\xc3\xbc\xc3\x9fe.png", b"caf\xe9.jpg"])
def test_a_large_file_is_read_as_its_bytes_are(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    image = np.zeros((4100, 4100, 3), np.uint8)
    image[:32, :48] = image[-32:, -48:] = RAMP
    data = cv2.imencode(path.suffix, image[:, :, ::-1])[1].tobytes()
    path.write_bytes(data)
    assert np.array_equal(read_image(path), read_image(data))
    path.write_bytes(data[:-500])
    with pytest.raises(ValueError, match=r"\.(png|jpg) is broken"):
        read_image(path)


def test_png_may_have_a_large_profile_and_text() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 3_000_000, zip=True)
    data = encoded(SOURCE, "PNG", icc_profile=bytes(3_000_000), pnginfo=text)
    assert np.array_equal(read_image(data), RAMP)


def test_a_file_much_smaller_than_its_pixels_is_refused(tmp_path: Path) -> None:
    """As 480 MP in a file of 100 bytes, whose decoder would take 4 GB."""
    path = tmp_path / "sparse.png"
    path.write_bytes(png(24_000, 20_000, 1, 0, bytes(100)))
    told = r"sparse\.png has 24,000 x 20,000 pixels in \d+ bytes, more than 62,500,000;"
    with pytest.raises(ValueError, match=told):
        read_image(path)
    blank = encoded(Image.new("1", (1000, 1000)), "PNG")
    assert len(blank) < 240
    assert read_image(blank, max_pixels=8_000_000).shape == (1000, 1000, 3)
    with pytest.raises(ValueError, match="more than 999,999;"):
        read_image(blank, max_pixels=7_999_999)


NOTES = [
    chunk(b"tEXt", b"Comment\0wrong checksum", 1),
    chunk(b"eXIf", bytes(20), 1),
    chunk(b"iCCP", b"no end"),
    chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 25))),
    chunk(b"iCCP", b"large\0\0" + zlib.compress(bytes(1 << 25))),
]


@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("late", [False, True])
def test_damaged_notes_of_png_are_skipped(note: bytes, late: bool) -> None:
    data = encoded(SOURCE, "PNG")
    at = data.index(b"IEND") - 4 if late else 33
    assert np.array_equal(read_image(data[:at] + note + data[at:]), RAMP)


def test_the_checksum_of_png_pixels_counts() -> None:
    data = png(9, 4, 8, 0, bytes(40))
    with pytest.raises(ValueError, match="broken"):
        read_image(data.replace(data[29:33], b"\0\0\0\1"))


def test_exif_of_png_may_follow_the_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(SOURCE, "PNG")
    at, path = data.index(b"IEND") - 4, tmp_path / "a.png"
    path.write_bytes(data[:at] + chunk(b"eXIf", exif.tobytes()[6:]) + data[at:])
    assert image_size(path) == (32, 48)
    assert read_image(path).shape == (48, 32, 3)


def test_threads_that_read_damaged_files_print_and_warn_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x09"
    tiff, jpeg = encoded(SOURCE, "TIFF"), encoded(SOURCE, "JPEG", exif=exif)

    def read(_: int) -> None:
        assert read_image(jpeg).shape == (32, 48, 3)
        with pytest.raises(ValueError, match="broken"):
            read_image(tiff[: len(tiff) // 2])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(40)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (RAMP, RAMP),
        (RAMP[:, :, 0], RAMP[:, :, [0, 0, 0]]),
        (RAMP[:, :, :1], RAMP[:, :, [0, 0, 0]]),
        (np.dstack([RAMP, np.full((32, 48), 255, np.uint8)]), RAMP),
        (np.dstack([RAMP, np.zeros((32, 48), np.uint8)]), np.full_like(RAMP, 128)),
        (np.dstack([RAMP / 255, np.ones((32, 48))]), RAMP),
        (RAMP.transpose(2, 0, 1), RAMP),
        (RAMP[:1].transpose(2, 0, 1), RAMP[:1]),
        (RAMP[:3, :, :], RAMP[:3]),
        (WIDE, RAMP),
        (WIDE.astype(">u2"), RAMP),
        (RAMP / 255, RAMP),
        ((RAMP / 255).astype(np.float16), RAMP),
        (RAMP[::-1, ::-1], RAMP[::-1, ::-1]),
        (RAMP.astype(np.int64), RAMP),
        (RAMP.astype(np.uint32), RAMP),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}",
)
def test_arrays_of_every_layout_and_type(array: NDArray[Any], expected: Pixels) -> None:
    image = read_image(array)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.array_equal(image, expected)


def test_an_array_in_the_final_form_is_not_copied() -> None:
    assert np.shares_memory(read_image(RAMP), RAMP)


def test_float_images_may_overshoot_by_a_rounding_error() -> None:
    pixels = np.array([[[-1e-4, 0.5, 1 + 1e-4]]])
    assert read_image(pixels).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (RAMP.astype(np.float32), "divide by 255"),
        (np.full((2, 2), -0.5), r"-0\.5"),
        (np.full((2, 2), np.nan), "nan"),
        (np.array([[0.5, np.nan]]), "nan"),
        (np.array([[0.5, np.inf]]), "inf"),
        (RAMP.astype(np.int64) * 2, "image of int64 holds 0 to 255, but this one 0 to 496"),
        (RAMP.astype(np.int16) - 1, "this one -1 to 247"),
        (RAMP.astype(object), "object"),
        (RAMP > 9, "bool"),
        (RAMP[:, :, :2], r"\(32, 48, 2\)"),
        (RAMP[None], r"\(1, 32, 48, 3\)"),
        (RAMP[:0], r"\(0, 48, 3\)"),
        (RAMP[0, 0], r"\(3,\)"),
    ],
)
def test_arrays_that_are_not_images(array: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_image(array)


class OtherArray:
    """What libraries as JAX offer to NumPy; `values` may refuse."""

    def __init__(self, values: Callable[[], NDArray[Any]]) -> None:
        self.values = values

    def __array__(self, dtype: object = None, copy: object = None) -> NDArray[Any]:
        return self.values()


class DLPackArray:
    """An array of the array API standard, without a way of its own to NumPy."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


def test_arrays_of_other_libraries_are_read() -> None:
    for values in (RAMP.copy(), RAMP.astype(np.int64), RAMP / 255, RAMP.transpose(2, 0, 1).copy()):
        assert np.array_equal(read_image(OtherArray(values.copy)), RAMP)
        assert np.array_equal(read_image(DLPackArray(values)), RAMP)


def test_an_array_that_refuses_is_explained() -> None:
    def refuse() -> NDArray[Any]:
        raise TypeError("it is on the GPU")

    with pytest.raises(ValueError, match=r"OtherArray.*it is on the GPU; copy it to a NumPy"):
        read_image(OtherArray(refuse))


@pytest.mark.parametrize("source", [None, 3, [[0, 0], [0, 0]]])
def test_things_that_are_not_images(source: Any) -> None:
    with pytest.raises(ValueError, match="is not an image"):
        read_image(source)


def test_tensors_have_their_channels_first() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(RAMP.transpose(2, 0, 1).copy())
    unit = (tensor / 255).requires_grad_()
    for source in (tensor, unit, tensor.permute(1, 2, 0)):
        assert np.array_equal(read_image(source), RAMP)
    # Where both ends could be channels, an array would be read the other way round.
    assert np.array_equal(read_image(tensor[:, :, :3]), RAMP[:, :3])
    assert np.array_equal(read_image(tensor[0]), RAMP[:, :, [0, 0, 0]])
    assert_close(read_image(unit.bfloat16()), RAMP, levels=2)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "HSV"])
def test_pil_images_of_every_mode(mode: str) -> None:
    image = SOURCE.convert(mode)
    assert_close(read_image(image), over_gray(image), levels=0)


@pytest.mark.parametrize(
    ("pixels", "mode"),
    [(WIDE[:, :, 0], "I;16"), (WIDE[:, :, 0].astype(np.int32), "I")],
)
def test_pil_images_of_16_bits(pixels: NDArray[Any], mode: str) -> None:
    image = Image.fromarray(pixels)
    assert image.mode == mode
    assert np.array_equal(read_image(image), RAMP[:, :, [0, 0, 0]])


def test_a_pil_palette_with_transparency_gives_no_warning() -> None:
    with Image.open(io.BytesIO(FILES["PNG, palette, transparent"]())) as image:
        image.info["transparency"] = bytes(range(50))
        assert read_image(image).shape == (32, 48, 3)


def test_a_truncated_pil_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    data = encoded(SOURCE, "PNG", compress_level=0)
    path.write_bytes(data[: len(data) // 2])
    with Image.open(path) as image, pytest.raises(ValueError, match=r"cut\.png is broken"):
        read_image(image)


@given(st.binary(max_size=200), st.sampled_from(sorted(FILES)), st.integers(0, 2000))
def test_damaged_files_give_an_image_or_a_value_error(junk: bytes, kind: str, at: int) -> None:
    data = FILES[kind]()
    # Behind the header: one that promises a billion pixels is decoded for many seconds.
    at = 64 + at % len(data)
    try:
        image = read_image(data[:at] + junk + data[at + len(junk) :])
    except ValueError:
        return
    assert image.ndim == 3
    assert image.dtype == np.uint8


@pytest.mark.parametrize("kind", FILES)
def test_the_size_is_that_of_the_pixels(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(FILES[kind]())
    assert image_size(path) == read_image(path).shape[1::-1]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_size_is_that_of_the_upright_image(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a"
    path.write_bytes(encoded(SOURCE, kind, exif=exif))
    assert image_size(path) == read_image(path).shape[1::-1]


def test_the_size_is_known_without_decoding(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(400_000, 40_000, 8, 0, bytes(100)))
    assert image_size(path) == (400_000, 40_000)
    path.write_text("<html>")
    with pytest.raises(ValueError, match=r"bomb\.png is broken or not an image"):
        image_size(path)


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpegs_are_read_at_a_fraction_of_their_size(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind, factor in (("JPEG", 4), ("PNG", 1)):
        path = tmp_path / kind
        path.write_bytes(encoded(SOURCE.resize((130, 99)), kind, exif=exif))
        reduced = read_reduced(path, lambda size: 4 if size == (130, 99) else 1)
        whole = read_image(path)
        assert reduced.size == whole.shape[1::-1]
        sides = [-(-side // factor) for side in whole.shape[:2]]
        assert [*reduced.pixels.shape] == [*sides, 3]
        assert_close(reduced.pixels, resize(whole, (sides[1], sides[0])), 8)
    with pytest.raises(ValueError, match="130 x 99 pixels"):
        read_reduced(path, lambda _: 8, max_pixels=130 * 99 - 1)


@pytest.mark.parametrize("kind", ["PPM", "JPEG2000", "TGA"])
def test_other_formats_of_pillow_are_not_read(kind: str) -> None:
    with pytest.raises(ValueError, match="extd reads JPEG, PNG, WebP"):
        read_image(encoded(SOURCE, kind))


CLAIMS = """
import resource, sys
from extd.images import image_size, read_image
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for path in sys.argv[1:]:
    for read in (image_size, read_image):
        try:
            read(path)
        except ValueError as error:
            assert path in str(error)
            assert "MemoryError" not in str(error), path
"""


def test_a_chunk_sets_no_more_memory_aside_than_the_file_has(tmp_path: Path) -> None:
    """Chunks that claim 4 GB, and a TIFF tag likewise, are read with 3 GB of address space."""
    whole = encoded(SOURCE, "PNG")
    paths = []
    for kind in (b"tEXt", b"iCCP", b"eXIf", b"IDAT"):
        paths.append(tmp_path / f"{kind.decode()}.png")
        paths[-1].write_bytes(whole[:33] + b"\xff\xff\xff\xff" + kind + whole[41:])
    paths.append(tmp_path / "tag.tif")
    tag = struct.pack("<HHII", 0x010F, 2, 0xFFFFFFF0, 8)
    paths[-1].write_bytes(b"II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(64))
    subprocess.run([sys.executable, "-c", CLAIMS, *paths], check=True)


def test_an_image_that_memory_cannot_hold_is_not_called_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ValueError, match="the image in memory is too large for the memory"):
        read_image(encoded(SOURCE, "PNG"))


def test_heic_is_read_upright_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.heic"
    heif = pillow_heif.from_pillow(Image.fromarray(QUADRANTS))
    heif.save(path, exif=exif.tobytes(), quality=90)
    upright = np.asarray(ImageOps.exif_transpose(Image.fromarray(QUADRANTS)))
    assert image_size(path) == read_image(path).shape[1::-1]
    assert upright.shape == (32, 48, 3)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"a\.heic is HEIC.*pip install 'extd\[heic\]'"):
        read_image(path)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90))
def test_a_flat_image_stays_flat_in_any_size(
    width: int, height: int, to_width: int, to_height: int
) -> None:
    resized = resize(np.full((height, width, 3), 77, np.uint8), (to_width, to_height))
    assert resized.shape == (to_height, to_width, 3)
    assert (resized == 77).all()


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 7))
def test_shrinking_by_a_whole_factor_gives_means(width: int, height: int, factor: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height * factor, width * factor, 3), dtype=np.uint8)
    means = image.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    assert np.abs(resize(image, (width, height)) - means).max() <= 1


@pytest.mark.parametrize("size", [(30, 20), (25, 17), (37, 29), (9, 7), (96, 64), (200, 99)])
def test_a_resized_ramp_is_a_ramp(size: tuple[int, int]) -> None:
    """So nothing is shifted, also where the factor is not whole."""
    x, y = ((np.arange(side) + 0.5) / side for side in size)
    expected = np.stack(np.broadcast_arrays(x * 48 * 5 - 2.5, y[:, None] * 32 * 8 - 4), axis=-1)
    inner = np.s_[size[1] // 8 + 1 : -size[1] // 8 - 1, size[0] // 8 + 1 : -size[0] // 8 - 1]
    assert np.abs(resize(RAMP, size)[..., :2] - expected)[inner].max() <= 3


def test_an_image_that_has_the_size_is_not_copied() -> None:
    assert resize(RAMP, (48, 32)) is RAMP
