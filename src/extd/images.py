"""Images from anywhere as one thing: uint8 [H, W, 3] RGB, upright. Pillow decodes the files."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from os import PathLike
from typing import IO, Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile

from extd import png
from extd.avif import clean_aperture
from extd.files import open_file

# Each registers its format. Pillow would load them by itself, along with forty others.
for _plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Tiff", "WebP"):
    import_module(f"PIL.{_plugin}ImagePlugin")
png.make_lenient()

Image = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB."""
Size = tuple[int, int]
"""Width and height in pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
"""Pillow's names of the formats that are read; some of its others run programs."""
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
NOT_AN_IMAGE = "is broken or not an image; extd reads JPEG, PNG, WebP, AVIF, TIFF, BMP and GIF"

CHANNELS = (1, 3, 4)
MAX_PIXELS = 500_000_000
"""1.5 GB decoded. A file of a few kB can hold more: a decompression bomb."""
SPARSE, SPARSE_PIXELS = 4096, 1 / 8
"""Files with more pixels a byte, as only blank ones need, may have this share of `max_pixels`."""
GRAY = 128
"""Shown through transparent pixels: neither black nor white faces vanish in it."""
BAND = 1 << 16
"""Pixels converted at a time, to avoid a second copy; with more, malloc's mmap doubles the time."""
ROUNDING = 1e-3
"""How far outside 0 to 1 a float image may be, as after resampling."""

APERTURE = "clean_aperture"
"""Key of what is to be seen of an AVIF in Pillow's `info`."""
ORIENTATION = 0x0112
"""The EXIF tag."""
TRANSPOSES = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What turns each orientation upright; from 5 on, width and height are swapped."""


@runtime_checkable
class Tensor(Protocol):
    """The part of `torch.Tensor` used here; torch is optional."""

    def detach(self) -> Any: ...  # noqa: D102
    def is_floating_point(self) -> bool: ...  # noqa: D102


PathName = str | PathLike[str]
Bytes = bytes | bytearray | memoryview
ImageSource = PathName | Bytes | BinaryIO | PIL.Image.Image | Tensor | NDArray[Any]
"""What `read_image` takes."""


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read an image, turn it upright and convert it to 8-bit RGB.

    Args:
        source: one of
            - a path, the bytes of a file, or a binary file object: JPEG, PNG, WebP, AVIF, TIFF,
              BMP, GIF or, with the extra `heic`, HEIC; the first of several frames or pages;
            - a PIL image;
            - an array [H, W], [H, W, 1], [H, W, 3] RGB, [H, W, 4] RGBA, or channels first if the
              last axis cannot be channels;
            - a torch tensor [H, W], [C, H, W], or channels last if the first axis cannot be
              channels.
            The EXIF orientation of files and PIL images is applied. Arrays and tensors are uint8
            (0 to 255), uint16 (0 to 65535) or float (0 to 1). Transparent pixels are blended with
            mid gray; color profiles are not applied.
        max_pixels: refuse a file whose header promises more, before it is decoded.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous; shares memory with an array that already was this.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ValueError: the file is broken, empty, too large or of another format; the array has
            another shape, dtype or range, or holds NaN.
    """
    if isinstance(source, str | PathLike):
        with open_file(source) as file:
            return _decode(file, str(source), max_pixels).pixels
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(source), "the image in memory", max_pixels).pixels
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, PIL.Image.Image):
        return _from_pil(source, str(getattr(source, "filename", "")) or repr(source))
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if not hasattr(source, "read"):
        raise ValueError(f"{source!r} is not an image; give a path, bytes, a file, or an array")
    name = str(getattr(source, "name", "the file object"))
    try:
        data = io.BytesIO(source.read())
    except (TypeError, UnicodeDecodeError) as error:
        raise ValueError(f'{name} does not give bytes; open it with "rb"') from error
    return _decode(data, name, max_pixels).pixels


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """An image that may be smaller than its file's.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright.
        size: width and height of the whole upright image, px.
    """

    pixels: Image
    size: Size


def read_reduced(
    source: ImageSource | Reduced,
    reduction: Callable[[Size], int],
    *,
    max_pixels: int = MAX_PIXELS,
) -> Reduced:
    """Read an image, and a JPEG file perhaps at 1/2, 1/4 or 1/8 of its size, which is faster.

    `reduction` tells from the width and height by how much the image may be smaller. Other
    parameters and errors are those of `read_image`.
    """
    if isinstance(source, Reduced):
        return source
    if isinstance(source, str | PathLike):
        with open_file(source) as file:
            return _decode(file, str(source), max_pixels, reduction)
    pixels = read_image(source, max_pixels=max_pixels)
    return Reduced(pixels, pixels.shape[1::-1])


def image_size(path: PathName) -> Size:
    """The width and height that `read_image` gives, from the header alone.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ValueError: it is not an image, or its header is broken.
    """
    with open_file(path) as file:
        image = open_pil(file, str(path))
        x1, y1, x2, y2 = image.info.get(APERTURE) or (0, 0, *image.size)
        width, height = x2 - x1, y2 - y1
        if image.format == "PNG" and "exif" not in image.info:
            image.info["exif"] = png.late_exif(file)
        # Pillow has already swapped the sides of TIFF.
        swapped = image.format != "TIFF" and _orientation(image) >= 5
        return (height, width) if swapped else (width, height)


def open_pil(file: IO[bytes], name: str) -> ImageFile:
    """Read the header of an image; a ValueError about it begins with `name`."""
    # PIL.Image.open has a limit of pixels, but it is one for the whole process.
    prefix = file.read(64)
    if not prefix:
        raise ValueError(f"{name} is empty")
    # The plugin for AVIF would take HEIC of some brands, too.
    formats = [*_heif_format(prefix, name), *FORMATS]
    for factory, accept in (PIL.Image.OPEN[format_] for format_ in formats):
        # Where Pillow was built without a format, `accept` returns a message.
        if accept is not None and accept(prefix) is True:
            file.seek(0)
            with broken(name), catch_warnings():
                image: ImageFile = factory(file, "")
                if image.format == "AVIF":
                    file.seek(0)
                    image.info[APERTURE] = clean_aperture(file.read(), *image.size)
                return image
    raise ValueError(f"{name} {NOT_AN_IMAGE}")


def _heif_format(prefix: bytes, name: str) -> tuple[str, ...]:
    """Pillow's name of HEIC where a file begins like one, once its plugin is loaded."""
    if prefix[4:8] != b"ftyp" or prefix[8:12] not in HEIF_BRANDS or b"avi" in prefix[:64]:
        return ()
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError(
            f"{name} is HEIC, which needs the package pillow-heif; run: pip install 'extd[heic]'"
        ) from error
    pillow_heif.register_heif_opener()
    return ("HEIF",)


_warnings_lock = threading.Lock()


@contextmanager
def catch_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect Pillow's warnings about odd headers, and show none."""
    # The filters belong to the whole process, hence the lock: the time in it must be short.
    with _warnings_lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


@contextmanager
def broken(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises over damaged files into a ValueError with the name."""
    try:
        yield
    except MemoryError as error:
        raise ValueError(f"{name} is too large for the memory of this machine") from error
    except Exception as error:  # OSError, SyntaxError, struct.error, EOFError, ...
        reason = str(error) or type(error).__name__
        raise ValueError(f"{name} is broken: {reason}") from error


def _decode(
    file: IO[bytes], name: str, max_pixels: int, reduction: Callable[[Size], int] = lambda _: 1
) -> Reduced:
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    image = open_pil(file, name)
    width, height = image.size
    check_pixels(image.size, length, name, max_pixels)
    if (factor := reduction(image.size)) > 1:
        # Only JPEG's decoder can; the others do nothing.
        image.draft(None, (max(width // factor, 1), max(height // factor, 1)))
    if image.size == (width, height):
        pixels = _from_pil(image, name)
        return Reduced(pixels, pixels.shape[1::-1])
    swapped = _orientation(image) >= 5
    return Reduced(_from_pil(image, name), (height, width) if swapped else (width, height))


def check_pixels(size: Size, length: int, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a size above `max_pixels`, or one too large for a file of `length` bytes.

    Raises:
        ValueError: it begins with `name`.
    """
    pixels = size[0] * size[1]
    if pixels > SPARSE * length:
        max_pixels = int(max_pixels * SPARSE_PIXELS)
    if pixels > max_pixels:
        raise ValueError(
            f"{name} has {size[0]:,} x {size[1]:,} pixels in {length:,} bytes, more than "
            f"{max_pixels:,}; raise max_pixels (--max-pixels) if it is to be trusted"
        )


def load_upright(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """Decode an image and turn it as its EXIF says; a ValueError about it begins with `name`."""
    with broken(name):
        image.load()
        # After loading, for TIFF turns itself.
        method = TRANSPOSES.get(_orientation(image))
        if (box := image.info.get(APERTURE)) is not None:
            image = image.crop(box)
        return image if method is None else image.transpose(method)


def _from_pil(image: PIL.Image.Image, name: str) -> Image:
    image = load_upright(image, name)
    with broken(name):
        if not image.mode.startswith(("F", "I")):
            return _to_rgb(image)
        pixels = np.asarray(image)
    # Some 16-bit files come as 32-bit integers.
    if image.mode == "I" and pixels.min() >= 0 and pixels.max() <= 65535:
        pixels = pixels.astype(np.uint16)
    try:
        return _from_array(pixels)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _orientation(image: PIL.Image.Image) -> int:
    """1 to 8 as EXIF has it; 1 where EXIF is missing or broken."""
    with catch_warnings(), suppress(Exception):
        # The method of PNG would decode the whole image first.
        return int(PIL.Image.Image.getexif(image).get(ORIENTATION, 1))
    return 1


def _to_rgb(image: PIL.Image.Image) -> Image:
    """The pixels of an 8-bit image of any mode, those that are transparent blended with gray."""
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = image.crop((0, top, width, bottom))
        if band.has_transparency_data:
            background = PIL.Image.new("RGBA", band.size, (GRAY, GRAY, GRAY))
            band = PIL.Image.alpha_composite(background, band.convert("RGBA"))
        rgb[top:bottom] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    return rgb


def _from_tensor(source: Tensor) -> Image:
    """The pixels of a torch tensor on any device, channels first unless that cannot be."""
    tensor = source.detach().cpu()
    pixels: NDArray[Any] = (tensor.float() if source.is_floating_point() else tensor).numpy()
    if pixels.ndim == 3 and pixels.shape[0] in CHANNELS:
        pixels = pixels.transpose(1, 2, 0)
    return _from_array(pixels)


def _from_array(array: NDArray[Any]) -> Image:
    """The pixels of an array, channels last unless that cannot be."""
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim == 3 and pixels.shape[2] not in CHANNELS and pixels.shape[0] in CHANNELS:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] not in CHANNELS or pixels.size == 0:
        raise ValueError(
            f"an array of shape {array.shape} is not an image; expected (H, W), (H, W, 3), "
            "(H, W, 4) or (3, H, W) with at least one pixel"
        )
    pixels = _to_uint8(pixels)
    if pixels.shape[2] == 4:
        return _to_rgb(PIL.Image.fromarray(np.ascontiguousarray(pixels)))
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    return np.ascontiguousarray(pixels)


def _to_uint8(pixels: NDArray[Any]) -> Image:
    """Scale uint16 or float of 0 to 1 to the 256 levels, rounding to the nearest."""
    # The name, because a type of the other byte order is not equal to its native twin.
    if pixels.dtype.name == "uint8":
        return pixels
    if pixels.dtype.name == "uint16":
        return np.asarray(np.rint(pixels / 257), np.uint8)
    if pixels.dtype.kind != "f":
        raise ValueError(
            f"an array of {pixels.dtype} is not an image; expected uint8, uint16 or float, 0 to 1"
        )
    low, high = pixels.min(), pixels.max()
    # Written so that NaN fails too.
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise ValueError(
            f"a float image holds 0 to 1, but this one {low:g} to {high:g}; "
            "divide by 255 where it holds 0 to 255"
        )
    return np.asarray(np.rint(pixels.clip(0, 1) * 255), np.uint8)


def resize(image: Image, size: Size) -> Image:
    """Resample an image to that width and height in pixels.

    Shrinking averages blocks of whole pixels, then is bicubic; enlarging is bilinear.

    Returns:
        uint8 [height, width, 3]; `image` itself where it has that size.

    Raises:
        ValueError: memory runs out.
    """
    height, width = image.shape[:2]
    if size == (width, height):
        return image
    try:
        pixels = PIL.Image.fromarray(image)
        factor = min(width // size[0], height // size[1])
        if factor == 0:
            return _to_rgb(pixels.resize(size, Resampling.BILINEAR))
        # Whole factors first, as exact means; the box is the image in pixels of what is left.
        box = (0, 0, width / factor, height / factor)
        return _to_rgb(pixels.reduce(factor).resize(size, Resampling.BICUBIC, box))
    except MemoryError as error:
        raise ValueError(
            f"{width} x {height} px cannot be resized to {size[0]} x {size[1]} px: "
            "not enough memory"
        ) from error
