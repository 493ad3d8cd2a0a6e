"""From file to file: images and videos with their faces covered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Literal

from extd.detector import Detector
from extd.faces import Faces
from extd.files import copy_owner, real_path
from extd.images import Reduced, read_image
from extd.media.animation import frame_count, open_animation, write_animation
from extd.media.anonymize import DEFAULT, AnonymizeOptions, uncovered
from extd.media.recorded import RecordedFaces
from extd.media.sources import Source, check_results, find_images, is_video
from extd.media.tracking import fill_gaps, track
from extd.media.transparency import read_layers
from extd.media.video import WHOLE, Frame, Span, open_video
from extd.media.videowriter import PLAIN, VideoOptions, write_video
from extd.media.writers import (
    NO_METADATA,
    check_replaceable,
    depth_note,
    encoding,
    read_metadata,
    write_image,
)
from extd.pipeline import (
    Find,
    OnFrame,
    Report,
    detect_frames,
    find_with,
    process_files,
    refuse_video,
)
from extd.pixels import Image
from extd.signals import defer_interrupt

THRESHOLD = 0.3
"""Least probability of a face to cover, unless the model's file has a lower one."""
CHECK_THRESHOLD = 0.2
"""Least probability of a face that the second look covers; low, so that it finds what is left."""

FaceFinder = Detector | RecordedFaces
"""What finds the faces of a frame: a network, or a file."""


@dataclass(frozen=True, slots=True)
class BlurOptions:
    """How files are written with their faces covered.

    Attributes:
        cover: how faces are covered.
        gap: for how many frames of a video or animation a face stays covered where it is missed;
            see `fill_gaps`.
        check_threshold: detect again in the result with this threshold, or that of the detector
            if it is lower; cover and report what was left. None turns this off, and so do faces
            from a file.
        keep_metadata: copy EXIF and the color profile of an image, or the tags of a video, such as
            place, time and camera.
        quality: 1 to 100, for JPEG, AVIF and WebP; by default JPEG keeps that of the source.
        span: which frames of a video are covered.
        outside: what becomes of its frames before and after them: `drop`, or `keep`, uncovered.
        video: the encoder of videos, and what becomes of their audio.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    cover: AnonymizeOptions = DEFAULT
    gap: int = 5
    check_threshold: float | None = CHECK_THRESHOLD
    keep_metadata: bool = False
    quality: int | None = None
    span: Span = WHOLE
    outside: Literal["drop", "keep"] = "drop"
    video: VideoOptions = PLAIN

    def __post_init__(self) -> None:
        if self.gap < 0:
            raise ValueError(f"gap is {self.gap}; give 0 or more frames")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f"quality is {self.quality}; give 1 to 100")
        if self.outside not in {"drop", "keep"}:
            raise ValueError(f"outside is {self.outside!r}; give drop or keep")
        if self.outside == "keep" and self.span.every > 1:
            raise ValueError(f"every is {self.span.every}; give 1 to keep what is outside")


COVERED = BlurOptions()


def blur_threshold(detector: Detector) -> float:
    """The threshold to cover faces from where the user gives none.

    One that a model's file stores for few false alarms must not leave faces uncovered.
    """
    return min(THRESHOLD, detector.threshold())


def blur_images(
    inputs: Iterable[str | Path],
    out: str | Path,
    finder: FaceFinder,
    options: BlurOptions = COVERED,
) -> Generator[tuple[Path, Report | Exception], None, None]:
    """Blur images into a folder; yield each path with its report, or with why it failed.

    The inputs are image files, folders (with their subfolders) and globs. Results keep the tree of
    their folder or glob. The other parameters are those of `blur_image`.

    Raises:
        ValueError: a result would replace an original.
    """
    out = Path(out)
    sources = find_images(inputs, out)
    check_results(sources, out)

    def on_image(finder: FaceFinder, source: Source, image: Reduced) -> Report:
        return blur_image(source.path, out / source.result, finder, options, image=image.pixels)

    def on_frames(source: Source) -> Report:
        if is_video(source.path):
            raise refuse_video(source)
        return blur_animation(source.path, out / source.result, finder, options)

    with closing(process_files(sources, finder, on_image, on_frames)) as results:
        for source, result in results:
            yield source.path, result


def blur_image(
    source: str | Path,
    target: str | Path,
    finder: FaceFinder,
    options: BlurOptions = COVERED,
    *,
    image: Image | None = None,
    on_frame: OnFrame | None = None,
) -> Report:
    """Write an image with its faces covered, in all of its frames or pages.

    Args:
        source: the image file.
        target: the file to write, in the format of its suffix; `source` itself is replaced.
        finder: a detector, or what `read_faces` gives. A threshold of 0.3 covers more than a
            detector's default of 0.5.
        options: how to cover faces, and how to write.
        image: the pixels of `source`, if they were read already; they are overwritten.
        on_frame: called with the image and all faces that were covered or kept.

    Raises:
        ValueError: the image or its metadata cannot be read, or the image cannot be replaced.
        OSError: a file cannot be read or written.
    """
    source, target = Path(source), Path(target)
    if image is None and frame_count(source) > 1:
        return blur_animation(source, target, finder, options, on_frame=on_frame)
    metadata = read_metadata(source) if options.keep_metadata else NO_METADATA
    # Before anything else decodes it: this limits the size.
    image = read_image(source) if image is None else image
    report = Report(notes=[*depth_note(source)])
    frame = Frame(image, str(source), layers=read_layers(source))
    with _finding(finder, report, source) as find:
        faces = find(frame)
    report.add(faces)
    with _replacing(source, target, report) as target:
        frame, faces = cover_frame(frame, faces, finder, options, report)
        if on_frame is not None:
            on_frame(frame, faces, 1)
        write_image(target, frame.pixels, {**encoding(target, source, options.quality), **metadata})
    return report


def blur_animation(
    source: str | Path,
    target: str | Path,
    finder: FaceFinder,
    options: BlurOptions = COVERED,
    *,
    on_frame: OnFrame | None = None,
) -> Report:
    """Write an image file of several frames or pages, in its own format, with its faces covered.

    The parameters are those of `blur_image`; `gap` does not count for pages. It is written whole
    or not at all: if a frame cannot be read, or after Ctrl-C, nothing is.

    Raises:
        ValueError: a frame cannot be read, or the suffix of `target` is of another format.
        OSError: a file cannot be read or written.
    """
    source, target = Path(source), Path(target)
    report = Report(notes=[*depth_note(source)])
    metadata = read_metadata(source) if options.keep_metadata else NO_METADATA
    with (
        _replacing(source, target, report) as target,
        open_animation(source) as animation,
        write_animation(target, animation, metadata) as write,
        _finding(finder, report, source) as find,
    ):
        found = detect_frames(animation.frames(), find, report, Event())
        if not animation.paged:
            found = _follow(found, finder, source, options.gap)
        for frame, faces in found:
            frame, faces = cover_frame(frame, faces, finder, options, report)
            if on_frame is not None:
                on_frame(frame, faces, animation.frame_count)
            write(frame.pixels)
        if report.error is not None:
            raise report.error
    return report


def blur_video(
    source: str | Path,
    target: str | Path,
    finder: FaceFinder,
    options: BlurOptions = COVERED,
    *,
    on_frame: OnFrame | None = None,
) -> Report:
    """Write a video with its faces covered and its audio.

    Ctrl-C ends it after the current frame. Then, and if the video breaks off, which the report
    says, the frames so far are written.

    Args:
        source: the video file.
        target: the file to write: MP4, MOV, MKV or WebM.
        finder: as for `blur_image`.
        options: how to cover faces, and how to write.
        on_frame: called with each frame of the span and all faces that were covered or kept.

    Raises:
        ImportError: PyAV is missing.
        ValueError: no frame can be read, or the video cannot be written.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: after Ctrl-C, once the file is written.
    """
    source, span, report = Path(source), options.span, Report()

    def find_in_span(frame: Frame) -> Faces:
        height, width = frame.image.shape[:2]
        return find(frame) if frame.time in span else Faces.empty(width, height)

    with (
        open_video(source, WHOLE if options.outside == "keep" else span) as video,
        write_video(target, video, options.video, keep_metadata=options.keep_metadata) as write,
        defer_interrupt() as interrupted,
        _finding(finder, report, source) as find,
    ):
        found = detect_frames(video.frames(), find_in_span, report, interrupted)
        for frame, faces in _follow(found, finder, source, options.gap):
            if frame.time in span:
                frame, faces = cover_frame(frame, faces, finder, options, report)
                if on_frame is not None:
                    on_frame(frame, faces, video.frame_count)
            write(frame.pixels, frame.time)
    report.notes += video.notes
    return report


@contextmanager
def _finding(finder: FaceFinder, report: Report, source: Path) -> Iterator[Find]:
    """What finds the faces of frames; the report tells of those without a line in a file of faces.

    Raises:
        ValueError: at the end of the block, if that has no line about any of them.
    """
    if isinstance(finder, Detector):
        yield find_with(finder)
        return
    lines = Counter[bool]()

    def find(frame: Frame) -> Faces:
        faces = finder.find(frame)
        lines[faces is not None] += 1
        height, width = frame.image.shape[:2]
        return Faces.empty(width, height) if faces is None else faces

    yield find
    if lines[False] and not lines[True]:
        raise ValueError(f"{finder.path} has no line about any of these frames of {source}")
    if lines[False]:
        report.notes.append(
            f"{finder.path} has no line about {lines[False]:,} of {lines.total():,} frames; there, "
            "faces are covered only for as long as they are held"
        )


def _follow(
    found: Iterable[tuple[Frame, Faces]], finder: FaceFinder, source: Path, gap: int
) -> Iterator[tuple[Frame, Faces]]:
    """Fill the gaps of faces; those that have no ids from a file are tracked."""
    if isinstance(finder, Detector) or not finder.ids(str(source)):
        found = track(found)
    return fill_gaps(found, gap)


def cover_frame(
    frame: Frame, faces: Faces, finder: FaceFinder, options: BlurOptions, report: Report
) -> tuple[Frame, Faces]:
    """Cover faces, and those that a second look finds; return all of them, too."""
    frame = frame.anonymize(faces, options.cover)
    if options.check_threshold is None or isinstance(finder, RecordedFaces):
        return frame, faces
    limits = finder.options
    threshold = min(options.check_threshold, finder.threshold())
    found = finder.detect(frame.image, replace(limits, threshold=threshold))
    left = uncovered(found, faces, options.cover)
    if limits.max_faces is not None:
        left = left[: max(limits.max_faces - len(faces), 0)]
    report.add_again(left, frame.time)
    return frame.anonymize(left, options.cover), faces.join(left)


@contextmanager
def _replacing(source: Path, target: Path, report: Report) -> Iterator[Path]:
    """The file to write: `target`, or what a link means if that is `source`, which is checked.

    That keeps its owner, mode and times; the report tells what could not be kept.
    """
    if real_path(target) != real_path(source):
        yield target
        return
    # A link keeps its place.
    target = real_path(source)
    check_replaceable(target)
    before = target.stat()
    yield target
    if not copy_owner(before, target):
        report.notes.append("it belongs to you now, since its owner cannot be kept")
    if (links := before.st_nlink - 1) > 0:
        kind = "hard link to it elsewhere still shows" if links == 1 else "hard links still show"
        report.notes.append(f"{links} {kind} the faces")
