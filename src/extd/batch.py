"""Many files, one after the other: read ahead, several at once, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from extd.detector import Detector
from extd.images import MAX_PIXELS, Image, image_size, read_image
from extd.media.sources import Source, is_video
from extd.passes import LARGE
from extd.prefetch import prefetch

Result = TypeVar("Result")


def process_files(
    sources: Sequence[Source],
    detector: Detector,
    on_image: Callable[[Detector, Source, Image], Result],
    on_video: Callable[[Source], Result],
    max_pixels: int = MAX_PIXELS,
) -> Generator[tuple[Source, Result | Exception], None, None]:
    """Process many files; yield each with its result, in order, or with why it failed.

    Threads read and process several images at once. Videos, and images so large that two of them
    might not fit into memory, wait for their turn and get all threads of the detector.

    Args:
        sources: images and videos.
        detector: what `on_image` gets, perhaps limited to one thread.
        on_image: called in any thread with the detector to use, the image file and its pixels.
        on_video: called with a video file.
        max_pixels: images with more pixels fail.
    """

    def process(source: Source) -> Result:
        if is_video(source.path):
            return on_video(source)
        return on_image(detector, source, read_image(source.path, max_pixels=max_pixels))

    def start(source: Source) -> Callable[[], Result]:
        """Do what can be done ahead, and return the rest as a function."""
        path = source.path
        if len(sources) == 1 or is_video(path) or is_large(path, max_pixels):
            return partial(process, source)
        with _errors_name(path):
            image = read_image(path, max_pixels=max_pixels)
            chosen = detector.of_many(image)
            if chosen is detector:
                # All images share its threads, so it takes one at a time.
                return partial(on_image, detector, source, image)
            result = on_image(chosen, source, image)
        return lambda: result

    if len(sources) > 1:
        # Made here, or several threads would make one each.
        _ = detector.serial
    with closing(prefetch(sources, start, detector.at_once)) as started:
        for source, rest in started:
            result: Result | Exception
            try:
                with _errors_name(source.path):
                    result = rest if isinstance(rest, Exception) else rest()
            except (ImportError, ValueError, OSError) as error:
                result = error
            # `rest` holds the image, which is not needed while the result is used.
            del rest
            yield source, result


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Make errors name the file."""
    try:
        yield
    except MemoryError as error:
        raise ValueError(f"{path} is too large for the memory of this machine") from error
    except (ImportError, ValueError, OSError) as error:
        if os.fspath(path) in str(error):
            raise
        kind = ImportError if isinstance(error, ImportError) else ValueError
        raise kind(f"{path}: {error}") from error


def is_large(path: Path, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether an image is too large to be in memory together with another of its size."""
    # A pipe can be read only once; reading reports what is broken.
    if path.is_file():
        with suppress(OSError, ValueError):
            width, height = image_size(path)
            return LARGE < width * height <= max_pixels
    return False


def refuse_video(source: Source) -> NoReturn:
    """Raise a ValueError, for a video among images."""
    raise ValueError(f"{source.path} is a video; give images")
