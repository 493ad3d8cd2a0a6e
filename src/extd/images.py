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
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile

from extd.files import open_file
from extd.pillow_fixes import clean_aperture, late_exif, make_lenient
from extd.pixels import Image, OtherArray, Tensor, from_array, from_tensor, to_rgb

# Each registers its format. Pillow would load them by itself, along with forty others.
for _plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Tiff", "WebP"):
    import_module(f"PIL.{_plugin}ImagePlugin")
make_lenient()

Size = tuple[int, int]
"""Width and height in pixels."""
Reduction = Callable[[Size], int]
"""By which of 1, 2, 4 and 8 an image of that size may be smaller when it is read."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
"""Pillow's names of the formats that are read; some of its others run programs."""
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
NOT_AN_IMAGE = "is broken or not an image; extd reads JPEG, PNG, WebP, AVIF, TIFF, BMP and GIF"
PREFIX = 64
"""Bytes at the beginning of a file that tell its format."""

MAX_PIXELS = 500_000_000
"""1.5 GB decoded. A file of a few kB can hold more: a decompression bomb."""
SPARSE, SPARSE_PIXELS = 4096, 1 / 8
"""Files with more pixels a byte, as only blank ones need, may have this share of `max_pixels`."""

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


PathName = str | PathLike[str]
Bytes = bytes | bytearray | memoryview
ImageSource = PathName | Bytes | BinaryIO | PIL.Image.Image | Tensor | NDArray[Any] | OtherArray
"""What `read_image` takes."""


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read an image, turn it upright and convert it to 8-bit RGB.

    Args:
        source: one of
            - a path, the bytes of a file, or a binary file object: JPEG, PNG, WebP, AVIF, TIFF,
              BMP, GIF or, with the extra `heic`, HEIC; the first of several frames or pages;
            - a PIL image;
            - an array of NumPy, or with `__array__` or `__dlpack__`: [H, W], [H, W, 1], [H, W, 3]
              RGB, [H, W, 4] RGBA, or channels first if the last axis cannot be channels;
            - a torch tensor [H, W], [C, H, W], or channels last if the first axis cannot be
              channels.
            The EXIF orientation of files and PIL images is applied. Arrays and tensors are float
            (0 to 1), uint16 (0 to 65535), or uint8 and other integers (0 to 255). Transparent
            pixels are blended with mid gray; color profiles are not applied.
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
        return from_array(source)
    if isinstance(source, PIL.Image.Image):
        return _from_pil(source, str(getattr(source, "filename", "")) or repr(source))
    if isinstance(source, Tensor):
        return from_tensor(source)
    if hasattr(source, "__array__") or hasattr(source, "__dlpack__"):
        try:
            convert: Any = np.asarray if hasattr(source, "__array__") else np.from_dlpack
            return from_array(convert(source))
        except (BufferError, RuntimeError, TypeError) as error:
            raise ValueError(f"{type(source)}: {error}; copy it to a NumPy array") from error
    if not hasattr(source, "read"):
        raise ValueError(f"{source!r:.60} is not an image; give a path, bytes, a file, or an array")
    name = str(getattr(source, "name", "the file object"))
    try:
        data = io.BytesIO(source.read())
    except (TypeError, UnicodeDecodeError) as error:
        raise ValueError(f'{name} does not give bytes; open it with "rb"') from error
    return _decode(data, name, max_pixels).pixels


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """An image that may be smaller than its file's."""

    pixels: Image  # uint8 [H, W, 3], RGB, upright
    size: Size  # width and height of the whole upright image, px


def read_reduced(
    source: ImageSource | Reduced, reduction: Reduction, *, max_pixels: int = MAX_PIXELS
) -> Reduced:
    """Read an image, and a JPEG file perhaps at 1/2, 1/4 or 1/8 of its size, which is faster.

    Other parameters and errors are those of `read_image`.
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
            image.info["exif"] = late_exif(file)
        # Pillow has already swapped the sides of TIFF.
        swapped = image.format != "TIFF" and _orientation(image) >= 5
        return (height, width) if swapped else (width, height)


def is_image(path: PathName) -> bool:
    """Whether a file begins like an image of a format that is read, even if it is broken."""
    with Path(path).open("rb") as file:
        prefix = file.read(PREFIX)
    accepts = [PIL.Image.OPEN[format_][1] for format_ in FORMATS]
    return _is_heif(prefix) or any(accept is not None and accept(prefix) for accept in accepts)


def open_pil(file: IO[bytes], name: str) -> ImageFile:
    """Read the header of an image; a ValueError about it begins with `name`."""
    # PIL.Image.open has a limit of pixels, but it is one for the whole process.
    prefix = file.read(PREFIX)
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
    if not _is_heif(prefix):
        return ()
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError(
            f"{name} is HEIC, which needs the package pillow-heif; run: pip install 'extd[heic]'"
        ) from error
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _is_heif(prefix: bytes) -> bool:
    return prefix[4:8] == b"ftyp" and prefix[8:12] in HEIF_BRANDS and b"avi" not in prefix


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


def unreduced(_: Size) -> int:
    """The `Reduction` that reads images whole."""
    return 1


def _decode(
    file: IO[bytes], name: str, max_pixels: int, reduction: Reduction = unreduced
) -> Reduced:
    return load_reduced(open_bounded(file, name, max_pixels), name, reduction)


def open_bounded(file: IO[bytes], name: str, max_pixels: int) -> ImageFile:
    """Read the header of an image as `open_pil` does, and refuse it as `check_pixels` does."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    image = open_pil(file, name)
    check_pixels(image.size, length, name, max_pixels)
    return image


def load_reduced(image: ImageFile, name: str, reduction: Reduction) -> Reduced:
    """Decode an image as `read_reduced` does; a ValueError about it begins with `name`."""
    width, height = image.size
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
            return to_rgb(image)
        pixels = np.asarray(image)
    # Some 16-bit files come as 32-bit integers.
    if image.mode == "I" and pixels.min() >= 0 and pixels.max() <= 65535:
        pixels = pixels.astype(np.uint16)
    try:
        return from_array(pixels)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _orientation(image: PIL.Image.Image) -> int:
    """1 to 8 as EXIF has it; 1 where EXIF is missing or broken."""
    with catch_warnings(), suppress(Exception):
        # The method of PNG would decode the whole image first.
        return int(PIL.Image.Image.getexif(image).get(ORIENTATION, 1))
    return 1


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
            return to_rgb(pixels.resize(size, Resampling.BILINEAR))
        # Whole factors first, as exact means; the box is the image in pixels of what is left.
        box = (0, 0, width / factor, height / factor)
        return to_rgb(pixels.reduce(factor).resize(size, Resampling.BICUBIC, box))
    except MemoryError as error:
        raise ValueError(
            f"{width} x {height} px cannot be resized to {size[0]} x {size[1]} px: "
            "not enough memory"
        ) from error
