"""Many image and video files, processed in order while others are read ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from extd.detector import Detector
from extd.files import real_path
from extd.images import MAX_PIXELS, Image, image_size, read_image
from extd.media.anonymize import AnonymizeOptions
from extd.media.sources import Source, find_images, is_video
from extd.media.videowriter import video_name
from extd.media.writers import image_name
from extd.passes import LARGE
from extd.pipeline import DEFAULT, Report, blur_image
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

    Several images are read and processed at once, in threads; videos, and images so large that
    two of them would not fit into memory, when their turn comes, by all threads of the detector.

    Args:
        sources: images and videos.
        detector: detects faces.
        on_image: called in any thread with the detector to use, the image file and its pixels.
        on_video: called with a video file.
        max_pixels: images with more pixels fail.
    """

    def in_turn(source: Source) -> Result | Exception:
        path = source.path
        if is_video(path):
            return _attempt(path, partial(on_video, source))
        image = _attempt(path, partial(read_image, path, max_pixels=max_pixels))
        if isinstance(image, Exception):
            return image
        return _attempt(path, partial(on_image, detector, source, image))

    def start(source: Source) -> Callable[[], Result | Exception]:
        """Do what can be done ahead, and return the rest."""
        path = source.path
        if is_video(path) or is_large(path, max_pixels):
            return partial(in_turn, source)
        image = _attempt(path, partial(read_image, path, max_pixels=max_pixels))
        if isinstance(image, Exception):
            return partial(_identity, image)
        chosen = detector.of_many(image)
        rest = partial(_attempt, path, partial(on_image, chosen, source, image))
        # This detector's threads are shared by all images, so it takes one at a time.
        return rest if chosen is detector else partial(_identity, rest())

    if len(sources) == 1:
        yield sources[0], in_turn(sources[0])
        return
    with closing(prefetch(sources, start, detector.at_once)) as started:
        for source, rest in started:
            result = rest if isinstance(rest, Exception) else rest()
            # It holds the image, which is not needed while the result is used.
            del rest
            yield source, result


def blur_images(
    inputs: Iterable[str | Path],
    out: str | Path,
    detector: Detector,
    options: AnonymizeOptions = DEFAULT,
    *,
    keep_metadata: bool = False,
) -> Generator[tuple[Path, Report | Exception], None, None]:
    """Anonymize images into a folder; yield each path with its report, or with why it failed.

    Args:
        inputs: image files, folders (with their subfolders) and globs.
        out: folder for the results, which keep the tree of their folder or glob.
        detector: detects faces; a threshold of 0.3 covers more than its default of 0.5.
        options: how to cover faces.
        keep_metadata: copy EXIF and the color profile.

    Raises:
        ValueError: a result would replace an original.
    """
    out = Path(out)
    sources = find_images(inputs, out)
    check_targets(sources, out)

    def on_image(detector: Detector, source: Source, image: Image) -> Report:
        target = out / result_name(source)
        return blur_image(
            source.path, target, detector, options, image=image, keep_metadata=keep_metadata
        )

    with closing(process_files(sources, detector, on_image, refuse_video)) as results:
        for source, result in results:
            yield source.path, result


def result_name(source: Source) -> Path:
    """The relative path under which the result of a file is stored."""
    return (video_name if is_video(source.path) else image_name)(source.name)


def check_targets(sources: Sequence[Source], out: Path) -> None:
    """Refuse a folder of results where one would replace an original.

    Raises:
        ValueError: the message names the file.
    """
    originals = {real_path(source.path) for source in sources}
    for source in sources:
        target = out / result_name(source)
        if real_path(target) in originals:
            kind = "video" if is_video(source.path) else "image"
            raise ValueError(f"{out} would replace the {kind} {target}; choose another folder")


def refuse_video(source: Source) -> NoReturn:
    """What to do with a video among images.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{source.path} is a video; give images")


def is_large(path: Path, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether no two images of this size should be in memory."""
    # A pipe can be read only once, and reading tells what is broken.
    if path.is_file():
        with suppress(OSError, ValueError):
            width, height = image_size(path)
            return LARGE < width * height <= max_pixels
    return False


def _attempt(path: Path, work: Callable[[], Result]) -> Result | Exception:
    """The result of `work`, or why it failed; the message names the file."""
    try:
        return work()
    except ImportError as error:
        return ImportError(f"{path}: {error}")
    except MemoryError:
        return ValueError(f"{path} is too large for the memory of this machine")
    except (ValueError, OSError) as error:
        return error if os.fspath(path) in str(error) else ValueError(f"{path}: {error}")


def _identity(result: Result) -> Result:
    return result
