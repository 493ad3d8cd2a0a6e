"""Pictures of any origin as one thing: uint8 [H, W, 3] RGB, upright."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from extd.headers import HEAD, Buffer, Size, avif_properties, encoded_size

Image = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB."""

CHANNELS = (1, 3, 4)
MAX_PIXELS = 500_000_000
"""1.5 GB decoded. A file of a few kB can hold more: a decompression bomb."""
LARGE = 1 << 24
"""Pixels above which a picture is not copied after it is decoded, and bytes a file before."""
JPEG = b"\xff\xd8"
GLANCE = cv2.IMREAD_REDUCED_GRAYSCALE_8
BROKEN = "is broken or no picture; extd reads JPEG, PNG, WebP, AVIF, TIFF, BMP and GIF"
ROUNDING = 1e-3
"""How far resampling may leave a float picture outside 0 to 1."""


@runtime_checkable
class PilImage(Protocol):
    """What is needed of a `PIL.Image.Image`, which stays an optional package."""

    mode: str

    def getexif(self) -> Mapping[int, Any]: ...  # noqa: D102
    def load(self) -> object: ...  # noqa: D102
    def convert(self, mode: str, /) -> Any: ...  # noqa: D102


@runtime_checkable
class Tensor(Protocol):
    """What is needed of a `torch.Tensor`, which stays an optional package."""

    def detach(self) -> Any: ...  # noqa: D102
    def is_floating_point(self) -> bool: ...  # noqa: D102


ImageSource = str | PathLike[str] | Buffer | BinaryIO | PilImage | Tensor | NDArray[Any]
"""What `read_image` takes."""


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture, turn it upright and convert it to 8-bit RGB.

    Args:
        source: one of
            - a path, the bytes of a file, or a binary file object: JPEG, PNG, WebP, AVIF, TIFF,
              BMP or GIF (first frame), turned as its EXIF orientation says;
            - a PIL image, turned likewise;
            - an RGB array [H, W], [H, W, 1], [H, W, 3] (RGBA: [H, W, 4]), or one with the channels
              first where the last axis cannot be channels;
            - a torch tensor [C, H, W], with the channels last where the first axis cannot be
              channels, or [H, W].
            Arrays and tensors are uint8 (0 to 255), uint16 (0 to 65535) or float (0 to 1).
            Grey is repeated, alpha is dropped.
        max_pixels: refuse a file whose header promises more, before it is decoded. OpenCV reads
            up to 2^30.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous. It shares memory with an array that already was this.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened, as without permission.
        ValueError: the file is broken, empty, too large or of another format; the array has
            another shape, type or range, or holds NaN.
    """
    if isinstance(source, str | PathLike):
        path = Path(source)
        if path.is_dir():
            # A folder that cannot be listed says so.
            next(path.iterdir(), None)
            raise ValueError(f"{path} is a folder without pictures, not a picture")
        if not path.exists():
            # A path has one slash where the address has two.
            web = str(source).startswith(("http:/", "https:/"))
            hint = "; it is an address: download it first" if web else ""
            if set("*?[") & set(str(source)):
                hint = ", and no picture matches it as a pattern"
            raise FileNotFoundError(f"there is no file {source}{hint}")
        if path.is_char_device() or path.is_block_device():
            # Reading one may never end.
            raise ValueError(f"{path} is a device, not a picture")
        # A pipe can be read only once.
        if not path.is_file():
            return _decode(path.read_bytes(), str(path), max_pixels)
        return _decode(file_content(path), str(path), max_pixels, path)
    if isinstance(source, Buffer):
        return _decode(source, "the picture in memory", max_pixels)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, PilImage):
        return _from_pil(source)
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "the file object"))
        try:
            data = source.read()
        except UnicodeDecodeError as error:
            raise ValueError(f'{name} is open as text; open it with "rb"') from error
        if not isinstance(data, bytes):
            raise ValueError(f'{name} gives {type(data).__name__}, not bytes; open it with "rb"')
        return _decode(data, name, max_pixels)
    raise ValueError(f"{source!r} is no picture; give a path, bytes, a file, an array or a tensor")


def file_content(path: Path) -> Buffer:
    """The bytes of a file; large ones stay on disk until they are needed."""
    if path.stat().st_size > LARGE:
        return np.memmap(path, np.uint8, "r").data
    return path.read_bytes()


def stored_size(path: Path) -> Size | None:
    """As `encoded_size` of a file, of which no more than its head is read where that tells."""
    with path.open("rb") as file:
        # Only few, as TIFF, tell the size far behind.
        return encoded_size(file.read(HEAD)) or encoded_size(file_content(path))


def _decode(data: Buffer, name: str, max_pixels: int, path: Path | None = None) -> Image:
    """The picture in the bytes of a file, perhaps that at `path`; errors call it `name`."""
    if not data:
        raise ValueError(f"{name} is empty")
    if (size := encoded_size(data)) is None:
        # OpenCV knows further formats, whose size is not known before they are decoded.
        raise ValueError(f"{name} {BROKEN}")
    width, height = size
    if width * height > max_pixels:
        raise ValueError(
            f"{name} has {width:,} x {height:,} pixels, more than {max_pixels:,} together; "
            "raise max_pixels (--max-pixels) if it is to be trusted"
        )
    # Of the formats that begin so, OpenCV reads no other.
    avif = data[4:8] == b"ftyp"
    flags = cv2.IMREAD_COLOR_RGB | (cv2.IMREAD_IGNORE_ORIENTATION if avif else 0)
    try:
        with _quiet_opencv:
            content = np.frombuffer(data, np.uint8)
            if path is None or width * height <= LARGE or not _is_utf8(name):
                image = cv2.imdecode(content, flags)
            # imread decodes into the array that it gives, which imdecode copies. But it takes
            # JPEG that is cut off for whole.
            elif data[:2] != JPEG or cv2.imdecode(content, GLANCE) is not None:
                image = cv2.imread(name, None, flags)
                # It fails over TIFF that lies on its side.
                if image is None:
                    image = cv2.imdecode(content, flags)
            else:
                image = None
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise ValueError(
                f"{name} has more pixels than OpenCV accepts, 2^30; shrink it"
            ) from error
        raise ValueError(f"{name} cannot be decoded: {error}") from error
    if image is None:
        raise ValueError(f"{name} {BROKEN}")
    pixels = np.asarray(image, np.uint8)
    return _turn(pixels, *_avif_orientation(data)) if avif else pixels


def _is_utf8(name: str) -> bool:
    """Whether a file name can be given to OpenCV, which crashes over others."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_pil(source: PilImage) -> Image:
    """The pixels of a PIL image, turned as its EXIF orientation says."""
    try:
        source.load()
        orientation = source.getexif().get(0x0112, 1)
        if source.mode in {"F", "I"} or source.mode.startswith("I;16"):
            pixels = np.asarray(source)
            # 16-bit files were opened as 32-bit integers by older versions of PIL.
            if source.mode == "I" and pixels.min() >= 0 and pixels.max() <= 65535:
                pixels = pixels.astype(np.uint16)
            image = _from_array(pixels)
        else:
            # PIL warns where a palette with transparency goes to RGB in one step.
            opaque = source.convert("RGBA") if source.mode in {"P", "PA"} else source
            image = np.asarray(opaque.convert("RGB"))
    except (OSError, SyntaxError) as error:
        name = getattr(source, "filename", "") or repr(source)
        raise ValueError(f"{name} is broken: {error}") from error
    return _turn(image, *EXIF_ORIENTATIONS.get(orientation, (0, None)))


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
            f"an array of shape {array.shape} is no picture; expected (H, W), (H, W, 3), "
            "(H, W, 4) or (3, H, W) with at least one pixel"
        )
    pixels = _to_uint8(pixels[:, :, :3])
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
            f"an array of {pixels.dtype} is no picture; expected uint8, uint16, or float of 0 to 1"
        )
    low, high = pixels.min(), pixels.max()
    # Written so that NaN fails too.
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise ValueError(
            f"a float picture holds 0 to 1, but this one {low:g} to {high:g}; "
            "divide by 255 where it holds 0 to 255"
        )
    return np.asarray(np.rint(pixels.clip(0, 1) * 255), np.uint8)


EXIF_ORIENTATIONS: Mapping[int, tuple[int, int | None]] = {
    2: (0, 1),
    3: (2, None),
    4: (0, 0),
    5: (1, 0),
    6: (3, None),
    7: (3, 0),
    8: (1, None),
}
"""What makes a picture of EXIF tag 0x0112 upright: quarter turns to the left, axis to flip."""


def _turn(image: Image, quarters: int, axis: int | None) -> Image:
    """The image after that many quarter turns to the left, then flipped along `axis`."""
    turned = np.rot90(image, quarters)
    return np.ascontiguousarray(turned if axis is None else np.flip(turned, axis))


def _avif_orientation(data: Buffer) -> tuple[int, int | None]:
    """Quarter turns to the left and axis to flip of an AVIF file, from `irot` and `imir`.

    OpenCV reads the EXIF tag instead, which says nothing in AVIF (ISO/IEC 23000-22, 7.3.10.1).
    """
    values = dict(avif_properties(data))
    axis = values[b"imir"][0] & 1 if b"imir" in values else None
    return values.get(b"irot", b"\0")[0] & 3, axis


def resize(
    image: Image, size: tuple[int, int], factor: float = 0, interpolation: int = cv2.INTER_LINEAR
) -> Image:
    """A picture in that width and height, or so many times as large where `size` is 0, 0.

    Raises:
        ValueError: OpenCV fails, as when memory runs out.
    """
    height, width = image.shape[:2]
    if size == (width, height):
        return image
    try:
        resized = cv2.resize(image, size, fx=factor, fy=factor, interpolation=interpolation)
    except cv2.error as error:
        to = f"by {factor:g}" if factor else f"to {size[0]} x {size[1]} px"
        raise ValueError(f"{width} x {height} px cannot be resized {to}: {error.err}") from error
    return np.asarray(resized, np.uint8)


class _QuietOpenCV:
    """Context in which OpenCV logs nothing: our errors say it, and name the file.

    The level is one for all threads, so the last one out restores what the first one found.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._level = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                cv2.utils.logging.setLogLevel(self._level)


_quiet_opencv = _QuietOpenCV()
