"""From file to file: detect, blur or crop the faces of an image or video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from extd.detector import Detector
from extd.faces import Face, Faces
from extd.files import copy_owner, real_path, shorten
from extd.images import Image, Reduced, read_image, read_reduced
from extd.media.animation import Animation, frame_count, open_animation, write_animation
from extd.media.annotate import annotate
from extd.media.anonymize import DEFAULT, AnonymizeOptions, uncovered
from extd.media.crops import align_all, crops
from extd.media.tracking import fill_gaps
from extd.media.transparency import read_layers
from extd.media.video import WHOLE, Fault, Frame, Span, open_video
from extd.media.videowriter import write_video
from extd.media.writers import NO_METADATA, check_replaceable, encoding, read_metadata, write_image
from extd.signals import defer_interrupt

OnFrame = Callable[[Frame, Faces, int | None], None]
"""Called with each frame of a video, its faces, and about how many frames there are, if known."""

CHECK_THRESHOLD = 0.2
"""Least probability of a face that the second look covers; low, so that it finds what is left."""
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
    image = read_reduced(source if image is None else image, lambda _: 1).pixels
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


def blur_image(
    source: str | Path,
    target: str | Path,
    detector: Detector,
    options: AnonymizeOptions = DEFAULT,
    *,
    image: Image | None = None,
    keep_metadata: bool = False,
    check_threshold: float | None = CHECK_THRESHOLD,
    quality: int | None = None,
) -> Report:
    """Write an image with its faces covered, in all of its frames or pages.

    Args:
        source: the image file.
        target: the file to write, in the format of its suffix; `source` itself is replaced.
        detector: a threshold of 0.3 covers more than the default of 0.5.
        options: how to cover faces.
        image: the pixels of `source`, if they were read already; they are overwritten.
        keep_metadata: copy EXIF and the color profile.
        check_threshold: detect again in the result with this threshold, or that of the detector
            if it is lower; cover and report what was left. None turns this off.
        quality: 1 to 100, for JPEG, AVIF and WebP; by default JPEG keeps that of the source.

    Raises:
        ValueError: the image or its metadata cannot be read, or the image cannot be replaced.
        OSError: a file cannot be read or written.
    """
    source, target = Path(source), Path(target)
    if image is None and frame_count(source) > 1:
        return blur_animation(
            source,
            target,
            detector,
            options,
            keep_metadata=keep_metadata,
            check_threshold=check_threshold,
        )
    metadata = read_metadata(source) if keep_metadata else NO_METADATA
    # Before anything else decodes it: this limits the size.
    image = read_image(source) if image is None else image
    faces = detector.detect(image)
    report = Report()
    report.add(faces)
    with _replacing(source, target, report) as target:
        frame = Frame(image, str(source), layers=read_layers(source))
        frame = frame.anonymize(faces, options)
        if check_threshold is not None:
            frame = _look_again(frame, faces, detector, options, check_threshold, report)
        write_image(target, frame.pixels, {**encoding(target, source, quality), **metadata})
    return report


def detect_animation(
    source: str | Path,
    detector: Detector,
    *,
    target: str | Path | None = None,
    on_frame: OnFrame | None = None,
) -> Report:
    """Detect the faces in all frames or pages of an image file; see `blur_animation`."""
    report = Report()
    with (
        open_animation(source) as animation,
        nullcontext() if target is None else write_animation(Path(target), animation) as write,
    ):
        for frame, faces in _whole_animation(animation, detector, report, on_frame):
            if write is not None:
                write(annotate(frame.image, faces, landmarks=True, out=frame.image))
    return report


def blur_animation(
    source: str | Path,
    target: str | Path,
    detector: Detector,
    options: AnonymizeOptions = DEFAULT,
    *,
    gap: int = 5,
    keep_metadata: bool = False,
    check_threshold: float | None = CHECK_THRESHOLD,
    on_frame: OnFrame | None = None,
) -> Report:
    """Write an image file of several frames or pages, in its own format, with its faces covered.

    The parameters are those of `blur_image` and `blur_video`; `gap` does not count for pages. It
    is written whole or not at all: if a frame cannot be read, or after Ctrl-C, nothing is.

    Raises:
        ValueError: a frame cannot be read, or the suffix of `target` is of another format.
        OSError: a file cannot be read or written.
    """
    source, target, report = Path(source), Path(target), Report()
    metadata = read_metadata(source) if keep_metadata else NO_METADATA
    with (
        _replacing(source, target, report) as target,
        open_animation(source) as animation,
        write_animation(target, animation, metadata) as write,
    ):
        found = _whole_animation(animation, detector, report, on_frame)
        for frame, faces in fill_gaps(found, 0 if animation.paged else gap):
            frame = frame.anonymize(faces, options)
            if check_threshold is not None:
                frame = _look_again(frame, faces, detector, options, check_threshold, report)
            write(frame.pixels)
    return report


def _whole_animation(
    animation: Animation, detector: Detector, report: Report, on_frame: OnFrame | None
) -> Iterator[tuple[Frame, Faces]]:
    """Yield all frames with their faces; a frame that cannot be read is an error."""
    count = animation.frame_count
    yield from detect_frames(animation.frames(), detector, report, Event(), on_frame, count)
    if report.error is not None:
        raise report.error


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


def detect_video(
    source: str | Path,
    detector: Detector,
    span: Span = WHOLE,
    *,
    target: str | Path | None = None,
    on_frame: OnFrame | None = None,
) -> Report:
    """Detect the faces of a video; with a `target`, write it there with its faces marked.

    Parameters, Ctrl-C and errors are as for `blur_video`; `span` selects frames and audio.
    """
    report = Report()
    with (
        open_video(source, span) as video,
        nullcontext() if target is None else write_video(target, video) as write,
        defer_interrupt() as interrupted,
    ):
        found = detect_frames(
            video.frames(), detector, report, interrupted, on_frame, video.frame_count
        )
        for frame, faces in found:
            if write is not None:
                write(annotate(frame.image, faces, landmarks=True, out=frame.image), frame.time)
    return report


def blur_video(
    source: str | Path,
    target: str | Path,
    detector: Detector,
    options: AnonymizeOptions = DEFAULT,
    *,
    gap: int = 5,
    keep_metadata: bool = False,
    check_threshold: float | None = CHECK_THRESHOLD,
    on_frame: OnFrame | None = None,
) -> Report:
    """Write a video with its faces covered and its audio unchanged.

    Ctrl-C ends it after the current frame. Then, and if the video breaks off, which the report
    says, the frames so far are written.

    Args:
        source: the video file.
        target: the file to write: MP4, MOV, MKV or WebM.
        detector: as for `blur_image`, like `options` and `check_threshold`.
        options: how to cover faces.
        gap: for how many frames a face stays covered where it is missed; see `fill_gaps`.
        keep_metadata: copy the file's tags, such as place, time and camera.
        check_threshold: as for `blur_image`, in each frame.
        on_frame: called with each frame and its detected faces.

    Raises:
        ImportError: PyAV is missing.
        ValueError: no frame can be read, or the video cannot be written.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: after Ctrl-C, once the file is written.
    """
    report = Report()
    with (
        open_video(source) as video,
        write_video(target, video, keep_metadata=keep_metadata) as write,
        defer_interrupt() as interrupted,
    ):
        found = detect_frames(
            video.frames(), detector, report, interrupted, on_frame, video.frame_count
        )
        for frame, faces in fill_gaps(found, gap):
            frame = frame.anonymize(faces, options)
            if check_threshold is not None:
                frame = _look_again(frame, faces, detector, options, check_threshold, report)
            write(frame.image, frame.time)
    return report


def detect_frames(
    frames: Iterable[Frame | Fault],
    detector: Detector,
    report: Report,
    interrupted: Event,
    on_frame: OnFrame | None = None,
    frame_count: int | None = None,
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
        faces = detector.detect(item.image)
        report.add(faces)
        if on_frame is not None:
            on_frame(item, faces, frame_count)
        yield item, faces
        if interrupted.is_set():
            return


def _look_again(
    frame: Frame,
    faces: Faces,
    detector: Detector,
    options: AnonymizeOptions,
    threshold: float,
    report: Report,
) -> Frame:
    """Detect again in a frame whose `faces` are covered; cover and report what was left."""
    threshold = min(threshold, detector.options.threshold)
    found = detector.detect(frame.image, replace(detector.options, threshold=threshold))
    left = uncovered(found, faces, options)
    report.add_again(left, frame.time)
    return frame.anonymize(left, options)
