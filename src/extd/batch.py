"""Many files at once: each with its result, in order, or with why it failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from extd.detector import Detector
from extd.images import MAX_PIXELS, Image, Size, image_size, read_reduced
from extd.media.animation import frame_count
from extd.media.anonymize import DEFAULT, AnonymizeOptions
from extd.media.sources import Source, check_results, find_images, is_video
from extd.passes import LARGE
from extd.pipeline import Report, blur_image
from extd.prefetch import prefetch

Result = TypeVar("Result")


def blur_images(
    inputs: Iterable[str | Path],
    out: str | Path,
    detector: Detector,
    options: AnonymizeOptions = DEFAULT,
    *,
    keep_metadata: bool = False,
) -> Generator[tuple[Path, Report | Exception], None, None]:
    """Anonymize images into a folder; yield each path with its report, or with why it failed.

    The inputs are image files, folders (with their subfolders) and globs. Results keep the tree of
    their folder or glob. The other parameters are those of `blur_image`.

    Raises:
        ValueError: a result would replace an original.
    """
    out = Path(out)
    sources = find_images(inputs, out)
    check_results(sources, out)

    def on_image(detector: Detector, source: Source, image: Image) -> Report:
        target = out / source.result
        return blur_image(
            source.path, target, detector, options, image=image, keep_metadata=keep_metadata
        )

    def on_frames(source: Source) -> Report:
        if is_video(source.path):
            raise refuse_video(source)
        target = out / source.result
        return blur_image(source.path, target, detector, options, keep_metadata=keep_metadata)

    with closing(process_files(sources, detector, on_image, on_frames)) as results:
        for source, result in results:
            yield source.path, result


def process_files(
    sources: Sequence[Source],
    detector: Detector,
    on_image: Callable[[Detector, Source, Image], Result],
    on_video: Callable[[Source], Result],
    max_pixels: int = MAX_PIXELS,
    reduction: Callable[[Size], int] = lambda _: 1,
) -> Generator[tuple[Source, Result | Exception], None, None]:
    """Process many files; yield each with its result, in order, or with why it failed.

    Threads read and process several images at once. Videos, and images so large that two of them
    might not fit into memory, wait for their turn and get all threads of the detector.

    Args:
        sources: images and videos.
        detector: what `on_image` gets, perhaps limited to one thread.
        on_image: called in any thread with the detector to use, the image file and its pixels.
        on_video: called with a video file, or an image file of several frames or pages.
        max_pixels: images with more pixels fail.
        reduction: by how much images may be smaller when they are read; see `read_reduced`.
    """

    def read(path: Path) -> Image:
        return read_reduced(path, reduction, max_pixels=max_pixels).pixels

    def process(source: Source) -> Result:
        if is_video(source.path) or frame_count(source.path, max_pixels) > 1:
            return on_video(source)
        return on_image(detector, source, read(source.path))

    def start(source: Source) -> Callable[[], Result]:
        """Do what can be done ahead, and return the rest as a function."""
        path = source.path
        if len(sources) == 1 or is_video(path) or is_large(path, max_pixels):
            return partial(process, source)
        with _errors_name(path):
            image = read(path)
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
    """Whether an image is too large to be in memory together with another, or has many frames."""
    # A pipe can be read only once; reading reports what is broken.
    if path.is_file():
        with suppress(OSError, ValueError):
            width, height = image_size(path)
            return LARGE < width * height <= max_pixels or frame_count(path) > 1
    return False


def refuse_video(source: Source) -> ValueError:
    """The error of a video among images."""
    return ValueError(f"{source.path} is a video; give images")
