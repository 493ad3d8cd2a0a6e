"""What commands do with a video: detect or cover faces, with progress, until Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import Group, Parameter

from extd.cli.terminal import WHOLE_NUMBER
from extd.signals import caught

if TYPE_CHECKING:
    from rich.progress import Progress

    from extd.detector import Detector
    from extd.faces import Faces
    from extd.media.anonymize import AnonymizeOptions
    from extd.media.frame import Fault, Frame
    from extd.media.sources import Source
    from extd.media.video import Span

VIDEO = Group("Of videos", sort_key=3)
Start = Annotated[float, Parameter(group=VIDEO, metavar="SECONDS")]
End = Annotated[float | None, Parameter(group=VIDEO, metavar="SECONDS")]
Every = Annotated[int, WHOLE_NUMBER, Parameter(group=VIDEO, metavar="FRAMES")]
Hold = Annotated[int, WHOLE_NUMBER, Parameter(group=VIDEO, metavar="FRAMES")]

FRAME_CSV_HEADER = "path,frame,time,width,height,x1,y1,x2,y2,score\n"
"""Columns of the CSV of sources among which are videos."""
TOLD = 3
"""How many faces that were left uncovered are told."""


class ResultsError(Exception):
    """A stream of results cannot be written, whatever the video.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(slots=True, eq=False)
class Tally:
    """What has become of a video so far.

    Attributes:
        frames: how many frames were looked at.
        faces: how many faces were found in them, all together.
        best: the greatest score of these; 0 without any.
        bare: how many frames have a face that was left uncovered.
        left: how many faces these are.
        told: the first few of them, in words.
        error: why not all of the video was read, or nothing was written; it names the file.
    """

    frames: int = 0
    faces: int = 0
    best: float = 0.0
    bare: int = 0
    left: int = 0
    told: list[str] = field(default_factory=list)
    error: Exception | None = None


def check_pyav(sources: Sequence[Source]) -> None:
    """Stop at once where there are only videos and none can be read.

    Among pictures, a video that cannot be read is one failure of many.

    Raises:
        ImportError: PyAV is missing.
    """
    from extd.media.sources import is_video
    from extd.media.video import pyav

    if sources and all(is_video(source.path) for source in sources):
        pyav()


def result_name(source: Source) -> Path:
    """The name of what is written of a picture or video."""
    from extd.media.sources import is_video
    from extd.media.videowriter import video_name
    from extd.media.writers import image_name

    return (video_name if is_video(source.path) else image_name)(source.name)


def frame_json_line(frame: Frame, faces: Faces) -> str:
    """One line of JSON: `path`, `frame`, `time` in seconds, `width`, `height` and `faces`."""
    place = {"path": frame.name, "frame": frame.index, "time": round(frame.time, 6)}
    size = {"width": faces.width, "height": faces.height}
    return json.dumps({**place, **size, "faces": faces.to_dict()}) + "\n"


def frame_csv_lines(path: str, index: int, time: float, faces: Faces) -> str:
    """One line of CSV a face, with the columns of `FRAME_CSV_HEADER`; of pictures, frame 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    place = [path, index, f"{time:.6f}", faces.width, faces.height]
    for face in faces:
        writer.writerow([*place, *(f"{value:.2f}" for value in face.box), f"{face.score:.4f}"])
    return text.getvalue()


def detect_video(
    detector: Detector,
    source: Source,
    span: Span,
    *,
    out: Path | None,
    json_stream: TextIO | None,
    csv_stream: TextIO | None,
    bar: Progress,
) -> Tally:
    """Find the faces in a video; write it annotated into the folder `out`, and lines a frame.

    Args:
        detector: what looks.
        source: the video.
        span: which of its frames.
        out: folder for the video, whose audio is kept; without it none is written.
        json_stream: gets the `frame_json_line` of each frame, and that of an error.
        csv_stream: gets the `frame_csv_lines`.
        bar: shows the progress.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once the frames that were looked at are written.
    """
    from extd.media.annotate import annotate
    from extd.media.videowriter import video_name, write_video
    from extd.media.writers import json_line

    tally = Tally()
    with reported(tally, str(source.path)), after_ctrl_c() as stopped, ExitStack() as stack:
        write = None
        if out is not None:
            target = out / video_name(source.name)
            write = stack.enter_context(write_video(target, source.path, span))
        for frame, faces in look_at_video(detector, source, span, tally, stopped, bar):
            if write is not None:
                write(annotate(frame.image, faces), frame.time)
            write_lines(frame, faces, json_stream, csv_stream)
        if stopped.is_set():
            raise KeyboardInterrupt
    if json_stream is not None and tally.error is not None:
        json_stream.write(json_line(str(source.path), tally.error))
        json_stream.flush()
    return tally


def write_lines(
    frame: Frame, faces: Faces, json_stream: TextIO | None, csv_stream: TextIO | None
) -> None:
    """Write the faces of a frame to the streams that there are.

    Raises:
        ResultsError: one cannot be written.
    """
    try:
        if json_stream is not None:
            json_stream.write(frame_json_line(frame, faces))
            json_stream.flush()
        if csv_stream is not None:
            csv_stream.write(frame_csv_lines(frame.name, frame.index, frame.time, faces))
            csv_stream.flush()
    except OSError as error:
        raise ResultsError(error) from error


def cover_video(
    detector: Detector,
    source: Source,
    target: Path,
    covering: AnonymizeOptions,
    *,
    hold: int,
    keep_metadata: bool,
    checked_from: float | None,
    bar: Progress,
) -> Tally:
    """Write a video with its faces covered, and its audio as it was.

    Args:
        detector: what looks.
        source: the video.
        target: the file to write, named by `video_name`.
        covering: how to cover.
        hold: for how many frames a face stays covered where it is missed.
        keep_metadata: copy what the file tells, as place, time and camera.
        checked_from: look at each covered frame again, for faces from this probability on.
        bar: shows the progress.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once the frames that were looked at are written.
    """
    from extd.media.anonymize import anonymize, uncovered
    from extd.media.tracking import hold as held
    from extd.media.video import WHOLE
    from extd.media.videowriter import write_video

    tally = Tally()
    with (
        reported(tally, str(source.path)),
        after_ctrl_c() as stopped,
        write_video(target, source.path, keep_metadata=keep_metadata) as write,
    ):
        found = look_at_video(detector, source, WHOLE, tally, stopped, bar)
        for frame, faces in held(found, hold):
            covered = anonymize(frame.image, faces, covering)
            write(covered, frame.time)
            if checked_from is not None:
                again = detector.detect(covered, replace(detector.options, threshold=checked_from))
                count_uncovered(tally, uncovered(again, faces, covering), clock(frame.time) + ": ")
        if stopped.is_set():
            raise KeyboardInterrupt
    return tally


def count_uncovered(tally: Tally, left: Faces, when: str = "") -> None:
    """Add the faces of a frame that were left uncovered; told as in `0.31 at 10,20,30,40`."""
    tally.bare += len(left) > 0
    tally.left += len(left)
    for face in left[: max(TOLD - len(tally.told), 0)]:
        box = ",".join(f"{value:.0f}" for value in face.box)
        tally.told.append(f"{when}{face.score:.2f} at {box}")


def look_at_video(
    detector: Detector,
    source: Source,
    span: Span,
    tally: Tally,
    stopped: threading.Event,
    bar: Progress,
) -> Iterator[tuple[Frame, Faces]]:
    """The frames of a video with their faces, as `look` gives them."""
    from extd.media.video import count_frames, read_video

    frames, total = read_video(source.path, span), count_frames(source.path, span)
    return look(detector, frames, source.path.name, total, tally, stopped, bar)


def look(
    detector: Detector,
    frames: Iterable[Frame | Fault],
    name: str,
    total: int | None,
    tally: Tally,
    stopped: threading.Event,
    bar: Progress,
) -> Iterator[tuple[Frame, Faces]]:
    """The frames with their faces, until they end or are `stopped`; `tally` counts."""
    from extd.media.frame import Fault

    task = bar.add_task(name, total=total)
    try:
        for item in frames:
            if isinstance(item, Fault):
                tally.error = item.error
                return
            faces = detector.detect(item.image)
            tally.frames += 1
            tally.faces += len(faces)
            tally.best = max(tally.best, float(faces.scores.max(initial=0)))
            yield item, faces
            bar.advance(task)
            if stopped.is_set():
                return
    finally:
        bar.remove_task(task)


@contextmanager
def reported(tally: Tally, name: str) -> Iterator[None]:
    """Within it, an error that is told to the user goes into `tally`, unless there is one."""
    try:
        yield
    except ResultsError as error:
        raise error.reason from None
    except (ValueError, OSError) as error:
        tally.error = tally.error or error
    except ImportError as error:
        tally.error = ImportError(f"{name}: {error}")
    except MemoryError:
        too_large = ValueError(f"{name} is too large for the memory of this machine")
        tally.error = tally.error or too_large


@contextmanager
def after_ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that work ends in order; a second Ctrl-C interrupts it."""
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()
        restore()

    with caught(stop) as restore:
        yield stopped


def clock(seconds: float) -> str:
    """As in `1:02:03.45`, and `2:03.45` below an hour."""
    minutes, rest = divmod(math.floor(seconds * 100) / 100, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:05.2f}" if hours else f"{minutes}:{rest:05.2f}"
