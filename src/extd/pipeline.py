"""From file to file: detect or crop the faces of an image or video, or process many files."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeVar

from extd.detector import Detector
from extd.faces import Face, Faces
from extd.files import real_path, shorten
from extd.images import MAX_PIXELS, Reduced, Reduction, read_image, read_reduced, unreduced
from extd.media.animation import frame_count, open_animation, read_single, write_animation
from extd.media.annotate import annotate
from extd.media.crops import align_all, crops
from extd.media.recorded import RecordedFaces
from extd.media.sources import Source, is_video
from extd.media.tracking import track
from extd.media.video import WHOLE, Fault, Frame, Span, open_video
from extd.media.videowriter import write_video
from extd.media.writers import encoding, write_image
from extd.passes import LARGE
from extd.pixels import Image
from extd.prefetch import prefetch
from extd.signals import defer_interrupt

Finder = TypeVar("Finder", bound=Detector | RecordedFaces)
Result = TypeVar("Result")
Find = Callable[[Frame], Faces]
"""Finds the faces of a frame."""
OnFrame = Callable[[Frame, Faces, int | None], None]
"""Called with each frame of a video, its faces, and about how many frames there are, if known."""

DESCRIBED = 3
"""How many faces of the second look a report describes; a long video can have very many."""


@dataclass(slots=True, eq=False)
class Report:
    """What was done to a file.

    Attributes:
        frames: number of frames processed; 1 for an image.
        faces: number of faces detected in all frames together.
        best_score: the highest of their scores; 0 without faces.
        again_frames: number of frames in which a second look found more faces.
        again_faces: number of these faces.
        again: the first few of them, each with the time of its frame in seconds.
        notes: what else there is to know about the result.
        error: why the result is incomplete, or None.
    """

    frames: int = 0
    faces: int = 0
    best_score: float = 0.0
    again_frames: int = 0
    again_faces: int = 0
    again: list[tuple[Face, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: Exception | None = None

    def add(self, faces: Faces) -> None:
        """Count a frame with its faces."""
        self.frames += 1
        self.faces += len(faces)
        self.best_score = max(self.best_score, float(faces.scores.max(initial=0)))

    def add_again(self, faces: Faces, time: float) -> None:
        """Count the faces that a second look found in a frame."""
        self.again_frames += len(faces) > 0
        self.again_faces += len(faces)
        room = DESCRIBED - len(self.again)
        self.again += [(face, time) for face in faces[:room]]


def detect_image(
    source: str | Path,
    detector: Detector,
    *,
    image: Image | Reduced | None = None,
    target: str | Path | None = None,
) -> Faces:
    """Detect the faces of an image; with a `target`, write it there with its faces marked.

    `image` holds the pixels of `source` if they were read already; marks are drawn into it. Without
    a target a JPEG may be read at a fraction of its size, see `extd.images.read_reduced`.

    Raises:
        ValueError: the target would replace the source, or there is a target and `source` has
            several frames; see `detect_animation`.
    """
    if target is not None and real_path(Path(target)) == real_path(Path(source)):
        raise ValueError(f"{target} would replace the original; give another target")
    if target is not None and image is None and frame_count(Path(source)) > 1:
        raise ValueError(f"{source} has several frames or pages; use detect_animation")
    if target is None:
        return detector.detect(source if image is None else image)
    image = read_reduced(source if image is None else image, unreduced).pixels
    faces = detector.detect(image)
    target = Path(target)
    marked = annotate(image, faces, landmarks=True, out=image)
    write_image(target, marked, encoding(target, Path(source)))
    return faces


def crop_image(
    source: str | Path,
    target: str | Path,
    detector: Detector,
    *,
    image: Image | None = None,
    margin: float = 0.2,
    square: bool = False,
    align: int | None = None,
) -> list[Path | None]:
    """Write a file for each face of an image, the best first, and return their paths.

    With the target `a/b.jpg` they are `a/b-001.jpg`, `a/b-002.jpg` ... For `margin` and `square`
    see `crops`; `image` is as for `detect_image`. With `align`, the faces are instead turned
    upright and scaled to that side in px: see `extd.media.crops.align`. A face whose landmarks
    coincide has no file, and None in its place.

    Raises:
        ValueError: faces are to be aligned, but the detector finds no landmarks.
    """
    image = read_image(source) if image is None else image
    target = Path(target)
    faces = detector.detect(image)
    cut: Sequence[Image | None]
    if align is None:
        cut = [crop.image for crop in crops(image, faces, margin=margin, square=square)]
    else:
        cut = align_all(image, faces, align)
    written: list[Path | None] = [None] * len(cut)
    for index, face in enumerate(cut):
        if face is not None:
            number = f"-{index + 1:03}"
            short = shorten(target, len(number))
            written[index] = path = short.with_name(f"{short.stem}{number}{short.suffix}")
            write_image(path, face)
    return written


def detect_animation(
    source: str | Path,
    detector: Detector,
    *,
    target: str | Path | None = None,
    tracked: bool = False,
    on_frame: OnFrame | None = None,
) -> Report:
    """Detect the faces in all frames or pages of an image file.

    The parameters are those of `detect_video`; faces of pages are not tracked. A frame that cannot
    be read is an error.
    """
    report = Report()
    with (
        open_animation(source) as animation,
        nullcontext() if target is None else write_animation(Path(target), animation) as write,
    ):
        found = detect_frames(animation.frames(), find_with(detector), report, Event())
        for frame, faces in track(found) if tracked and not animation.paged else found:
            if on_frame is not None:
                on_frame(frame, faces, animation.frame_count)
            if write is not None:
                write(annotate(frame.image, faces, landmarks=True, out=frame.image))
    if report.error is not None:
        raise report.error
    return report


def detect_video(
    source: str | Path,
    detector: Detector,
    span: Span = WHOLE,
    *,
    target: str | Path | None = None,
    tracked: bool = False,
    on_frame: OnFrame | None = None,
) -> Report:
    """Detect the faces of a video.

    Ctrl-C ends it after the current frame. Then, and if the video breaks off, which the report
    says, the frames so far are written.

    Args:
        source: the video file.
        detector: what finds the faces.
        span: which frames are read, and which audio.
        target: the file to write, with the faces marked: MP4, MOV, MKV or WebM.
        tracked: give faces ids; see `track`.
        on_frame: called with each frame and its faces.

    Raises:
        ImportError: PyAV is missing.
        ValueError: no frame can be read, or the video cannot be written.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: after Ctrl-C, once the file is written.
    """
    report = Report()
    with (
        open_video(source, span) as video,
        nullcontext() if target is None else write_video(target, video) as write,
        defer_interrupt() as interrupted,
    ):
        found = detect_frames(video.frames(), find_with(detector), report, interrupted)
        for frame, faces in track(found) if tracked else found:
            if on_frame is not None:
                on_frame(frame, faces, video.frame_count)
            if write is not None:
                write(annotate(frame.image, faces, landmarks=True, out=frame.image), frame.time)
    report.notes += video.notes
    return report


def find_with(detector: Detector) -> Find:
    """What finds the faces of frames by detection."""
    return lambda frame: detector.detect(frame.image)


def detect_frames(
    frames: Iterable[Frame | Fault], find: Find, report: Report, interrupted: Event
) -> Iterator[tuple[Frame, Faces]]:
    """Yield frames with their faces until they end or the event is set; `report` counts them.

    Raises:
        Exception: that of a `Fault` before the first frame; a later one goes into `report`.
    """
    for item in frames:
        if isinstance(item, Fault):
            if not report.frames:
                raise item.error
            report.error = item.error
            return
        faces = find(item)
        report.add(faces)
        yield item, faces
        if interrupted.is_set():
            return


def process_files(
    sources: Sequence[Source],
    finder: Finder,
    on_image: Callable[[Finder, Source, Reduced], Result],
    on_video: Callable[[Source], Result],
    max_pixels: int = MAX_PIXELS,
    reduction: Reduction = unreduced,
) -> Generator[tuple[Source, Result | Exception], None, None]:
    """Process many files; yield each with its result, in order, or with why it failed.

    Threads read and process several images at once. Videos, and images so large that two of them
    might not fit into memory, wait for their turn and get all threads of the detector.

    `on_image` is called in any thread, with what finds faces (of a detector perhaps one limited to
    one thread), the image file and what was read of it; `on_video` with a video file, or an image
    file of several frames or pages. Images with more than `max_pixels` fail.
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
            chosen = finder.for_batch(image.pixels) if isinstance(finder, Detector) else finder
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
