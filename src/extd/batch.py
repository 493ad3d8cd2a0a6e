"""Many files at once: each with its result, in order, or with why it failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from extd.detector import Detector
from extd.images import MAX_PIXELS, Size
from extd.media.animation import read_single
from extd.media.recorded import RecordedFaces
from extd.media.sources import Source, is_video
from extd.passes import LARGE
from extd.pixels import Image
from extd.prefetch import prefetch

Finder = TypeVar("Finder", bound=Detector | RecordedFaces)
Result = TypeVar("Result")


def process_files(
    sources: Sequence[Source],
    finder: Finder,
    on_image: Callable[[Finder, Source, Image], Result],
    on_video: Callable[[Source], Result],
    max_pixels: int = MAX_PIXELS,
    reduction: Callable[[Size], int] = lambda _: 1,
) -> Generator[tuple[Source, Result | Exception], None, None]:
    """Process many files; yield each with its result, in order, or with why it failed.

    Threads read and process several images at once. Videos, and images so large that two of them
    might not fit into memory, wait for their turn and get all threads of the detector.

    Args:
        sources: images and videos.
        finder: what `on_image` gets; of a detector perhaps one limited to one thread.
        on_image: called in any thread with what finds faces, the image file and its pixels.
        on_video: called with a video file, or an image file of several frames or pages.
        max_pixels: images with more pixels fail.
        reduction: by how much images may be smaller when they are read; see `read_reduced`.
    """
    read = partial(read_single, max_pixels=max_pixels, reduction=reduction)

    def process(source: Source) -> Result:
        image = None if is_video(source.path) else read(source.path)
        return on_video(source) if image is None else on_image(finder, source, image)

    def start(source: Source) -> Callable[[], Result]:
        """Do what can be done ahead, and return the rest as a function."""
        if len(sources) == 1 or is_video(source.path):
            return partial(process, source)
        with _errors_name(source.path):
            image = read(source.path, largest=LARGE)
            if image is None:
                return partial(process, source)
            chosen = finder.for_batch(image) if isinstance(finder, Detector) else finder
            if chosen is finder and isinstance(finder, Detector):
                # All images share its threads, so it takes one at a time.
                return partial(on_image, finder, source, image)
            result = on_image(chosen, source, image)
        return lambda: result

    threads = 0
    if isinstance(finder, Detector):
        threads = finder.workers
        if len(sources) > 1:
            # Made here, or several threads would make one each.
            _ = finder.single_threaded
    with closing(prefetch(sources, start, threads)) as started:
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


def refuse_video(source: Source) -> ValueError:
    """The error of a video among images."""
    return ValueError(f"{source.path} is a video; give images")
