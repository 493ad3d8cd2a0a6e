"""Image files of several frames or pages, read one by one and written in their own format."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import AppendingTiffWriter

from extd.files import atomic_write, open_file
from extd.images import (
    MAX_PIXELS,
    Reduced,
    Reduction,
    broken,
    check_pixels,
    load_reduced,
    open_bounded,
    open_pil,
    read_image,
    unreduced,
)
from extd.media.transparency import layers_of
from extd.media.video import Fault, Frame
from extd.media.writers import ENCODERS, NO_METADATA, Metadata

JPEGS = frozenset({"JPEG", "MPO"})
"""Pillow's names of JPEG; MPO has several images."""
Write = Callable[[NDArray[np.uint8]], None]
"""Append a frame: uint8 RGB [H, W, 3] or RGBA [H, W, 4]."""


class Animation:
    """An open image file of several frames or pages.

    Attributes:
        path: the file.
        format: Pillow's name of its format.
        frame_count: how many frames or pages it has.
        paged: whether they are pages, which need not resemble each other.
    """

    def __init__(
        self, path: Path, image: ImageFile, length: int, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Take an open image of `length` bytes; use `open_animation` for files."""
        self.path, self._image = path, image
        self._length, self._max_pixels = length, max_pixels
        self.format = str(image.format)
        self.frame_count = _frame_count(image, str(path))
        self.paged = self.format == "TIFF"
        # Milliseconds that each frame read so far is shown.
        self._durations: list[float] = []

    def frames(self) -> Iterator[Frame | Fault]:
        """Yield the frames, upright; in place of one that cannot be read comes a last `Fault`."""
        name, time = str(self.path), 0.0
        # Pillow and `read_image` name it in errors.
        self._image.filename = name
        for index in range(self.frame_count):
            try:
                self._image.seek(index)
                check_pixels(self._image.size, self._length, "it", self._max_pixels)
                layers = layers_of(self._image, name)
                image = read_image(self._image) if layers is None else layers.flatten()
            except Exception as error:  # noqa: BLE001 - decoders raise anything
                fault = ValueError(f"{name}: frame {index + 1} of {self.frame_count}: {error}")
                yield Fault(name, fault)
                return
            yield Frame(image, name, index, time, layers)
            # Known only after decoding.
            self._durations.append(float(self._image.info.get("duration") or 0))
            time += self._durations[-1] / 1000

    def timing(self) -> dict[str, Any]:
        """What Pillow writes of the times and repetitions of the frames read so far."""
        durations = [round(duration) for duration in self._durations]
        default_image = getattr(self._image, "default_image", False)
        timing: dict[str, Any] = {"duration": durations[1:] if default_image else durations}
        if default_image:
            # Shown only by programs that do not know animated PNG.
            timing["default_image"] = True
        if "loop" in self._image.info:
            timing["loop"] = self._image.info["loop"]
        return timing


@contextmanager
def open_animation(path: str | Path) -> Iterator[Animation]:
    """Open an image file of several frames or pages; errors are those of `read_image`."""
    with open_file(path) as file:
        image = open_pil(file, str(path))
        yield Animation(Path(path), image, file.seek(0, os.SEEK_END))


@contextmanager
def write_animation(
    path: Path, source: Animation, metadata: Metadata = NO_METADATA
) -> Iterator[Write]:
    """Write frames or pages in the format of `source`, with its times, once the block ends well.

    Raises:
        ValueError: that format is not written, or not the one that the suffix of `path` names.
    """
    _check_format(path, source)
    with (
        atomic_write(path) as partial,
        partial.open("w+b") as file,
        encode_animation(file, path, source, metadata) as write,
    ):
        yield write


@contextmanager
def encode_animation(
    file: IO[bytes], path: Path, source: Animation, metadata: Metadata = NO_METADATA
) -> Iterator[Write]:
    """As `write_animation`, to an open file; the suffix of `path` names the format."""
    _check_format(path, source)
    options = dict(ENCODERS[path.suffix.lower()])
    if source.paged:
        # One by one: all pages of a long document may not fit into memory.
        with closing(AppendingTiffWriter(file, new=True)) as pages:

            def write_page(pixels: NDArray[np.uint8]) -> None:
                PIL.Image.fromarray(pixels).save(pages, **options)
                pages.newFrame()

            yield write_page
        return
    frames: list[PIL.Image.Image] = []
    yield lambda pixels: frames.append(PIL.Image.fromarray(pixels))
    options |= {"save_all": True, "append_images": frames[1:], **source.timing(), **metadata}
    if source.format == "GIF" and any(frame.mode == "RGBA" for frame in frames):
        # Each frame is whole, so the one before must not shine through.
        options["disposal"] = 2
    try:
        frames[0].save(file, **options)
    except (ValueError, OSError, MemoryError) as error:
        raise ValueError(f"{path}: the frames cannot be written: {error}") from error


def _check_format(path: Path, source: Animation) -> None:
    if ENCODERS.get(path.suffix.lower(), {}).get("format") != source.format:
        raise ValueError(
            f"{source.path} has {source.frame_count} frames of {source.format}, which cannot be "
            f"written as {path.suffix}; convert it, or name it after its format"
        )


def frame_count(path: Path) -> int:
    """How many frames or pages an image file has; 1 for a pipe, which can be read only once.

    Errors are those of `read_single`.
    """
    if not path.is_file():
        return 1
    with open_file(path) as file:
        image = open_pil(file, str(path))
        return check_frames(image, str(path), MAX_PIXELS)


def read_single(
    path: Path, *, max_pixels: int, largest: float = math.inf, reduction: Reduction = unreduced
) -> Reduced | None:
    """Read an image file; None, undecoded, if it has several frames or over `largest` pixels.

    Of a pipe, which can be read only once, the first frame is read in any case.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not an image, or its frames have more than `max_pixels` together; pages
            have that many each.
    """
    name, is_pipe = str(path), not path.is_file()
    with open_file(path) as file:
        image = open_bounded(file, name, max_pixels)
        count = 1 if is_pipe else check_frames(image, name, max_pixels)
        # Other formats are decoded whole.
        factor = reduction(image.size) if image.format in JPEGS else 1
        if count > 1 or (math.prod(image.size) > largest * factor**2 and not is_pipe):
            return None
        return load_reduced(image, name, reduction)


def check_frames(image: ImageFile, name: str, max_pixels: int) -> int:
    """How many frames or pages an open image has.

    Raises:
        ValueError: they cannot be counted, or frames have more than `max_pixels` together.
    """
    count = _frame_count(image, name)
    width, height = image.size
    if count > 1 and image.format != "TIFF" and width * height * count > max_pixels:
        raise ValueError(
            f"{name} has {count:,} frames of {width:,} x {height:,} pixels, more than "
            f"{max_pixels:,} together; raise max_pixels (--max-pixels) if it is to be trusted"
        )
    return count


def _frame_count(image: ImageFile, name: str) -> int:
    if image.format in JPEGS:
        # The further images are previews.
        return 1
    with broken(name):
        # Pillow seeks all pages of a TIFF.
        return getattr(image, "n_frames", 1)
