"""`extd detect`: images and videos in; annotated ones, JSON Lines, CSV and a table out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from extd.cli.files import (
    Outcome,
    Task,
    check_pyav,
    frame_progress,
    is_one_image,
    print_summary,
    run_files,
)
from extd.cli.inference import INFERENCE, SEARCH, Inference, Threshold, load_detector
from extd.cli.results import Results, face_rows, image_row, open_result_files, video_row
from extd.cli.terminal import (
    STDOUT,
    WHOLE_NUMBER,
    Folder,
    Target,
    UsageError,
    check_folder,
    count,
    print_error,
    print_line,
    progress_bar,
    usage_errors,
)
from extd.files import SUFFIXES, real_path

if TYPE_CHECKING:
    from extd.detector import Detector
    from extd.faces import Faces
    from extd.images import Image
    from extd.media.sources import Source
    from extd.media.video import Frame, Span
    from extd.pipeline import OnFrame, Report

UNREAD = frozenset({".jfif", ".jxl", ".jp2", ".psd", ".dng", ".cr2", ".nef", ".arw"})
"""More image formats; results must not overwrite them either."""
RESULTS = Group("Results", sort_key=1)
VIDEO = Group("Videos", sort_key=3)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go.

    Attributes:
        out: Save the images and videos, with their faces marked, in this folder.
        json: Write JSON Lines, one object per image or frame, to a file; with - or nothing to
            standard output.
        csv: Write CSV, one line per face, likewise.
        coco: Write one COCO file, for images only: labels whose annotations have a score.
        yolo: Write YOLO labels into this folder, one text file per image, without scores.
        wider: Write detections for WIDER FACE's evaluation into this folder, likewise.
    """

    out: Annotated[Folder | None, Parameter(group=RESULTS)] = None
    json: Annotated[Target, Parameter(group=RESULTS)] = None
    csv: Annotated[Target, Parameter(group=RESULTS)] = None
    coco: Annotated[str | None, Parameter(group=RESULTS, metavar="FILE")] = None
    yolo: Annotated[Folder | None, Parameter(group=RESULTS)] = None
    wider: Annotated[Folder | None, Parameter(group=RESULTS)] = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Frames:
    """Which frames of a video or camera are searched.

    Attributes:
        start: Begin at this time of a video.
        end: End before this time.
        every: Take every n-th frame.
    """

    start: Annotated[float, Parameter(group=VIDEO, metavar="SECONDS")] = 0.0
    end: Annotated[float | None, Parameter(group=VIDEO, metavar="SECONDS")] = None
    every: Annotated[int, WHOLE_NUMBER, Parameter(group=VIDEO, metavar="FRAMES")] = 1


OUTPUTS = Outputs()
ALL = Frames()


def detect(
    *files: Annotated[str, Parameter(required=True)],
    outputs: Outputs = OUTPUTS,
    threshold: Threshold = 0.5,
    min_face: Annotated[float, Parameter(group=SEARCH, metavar="PX")] = 0,
    max_faces: Annotated[int | None, WHOLE_NUMBER, Parameter(group=SEARCH)] = None,
    inference: Inference = INFERENCE,
    frames: Frames = ALL,
) -> int:
    """Detect the faces in images and videos.

    FILES are files, folders (with their subfolders), quoted globs and -, for a list on standard
    input. A table shows the results. A file that cannot be read is reported, the rest goes on,
    and the exit code is 1. Videos need the extra `video`; Ctrl-C stops after the current frame and
    keeps what was written so far. camera:0, the first camera of this machine, or an address that
    begins with rtsp:// is watched instead: its newest frame each time, until Ctrl-C or --end.

        extd detect photo.jpg
        extd detect album --out boxed
        extd detect film.mp4 --out boxed --start 60 --end 90
        extd detect "album/**/*.png" --json faces.jsonl
        extd detect camera:0 --json -

    Args:
        files: Images, videos, folders or globs to search for faces.
        outputs: Where results go.
        threshold: Least probability of a face, 0 to below 1. Lower values find more faces, and
            more false ones.
        min_face: Leave out faces smaller than this, by their longer side.
        max_faces: Keep at most this many faces per image, those with the highest scores; by
            default all.
        inference: How faces are detected.
        frames: Which frames of a video or camera are searched.
    """
    from extd.media.frames import check_camera, is_camera
    from extd.media.sources import find_media, read_list
    from extd.media.video import Span

    check_outputs(outputs)
    with usage_errors():
        span = Span(frames.start, frames.end, frames.every)
    load = partial(load_detector, inference, threshold, min_face=min_face, max_faces=max_faces)
    if any(map(is_camera, files)):
        if len(files) > 1 or {outputs.out, outputs.coco, outputs.yolo, outputs.wider} != {None}:
            raise UsageError("a camera is watched alone, with --json or --csv or neither")
        with usage_errors():
            check_camera(files[0])
        return watch(load(), files[0], span, outputs)
    with usage_errors():
        sources = find_media(read_list(files, sys.stdin), outputs.out)
    protect_originals(sources, outputs)
    check_pyav(sources)
    with usage_errors():
        labels = text_targets(sources, outputs.yolo), text_targets(sources, outputs.wider)
    return detect_files(load(), sources, outputs, labels, span, inference.max_pixels)


def detect_files(
    detector: Detector,
    sources: Sequence[Source],
    outputs: Outputs,
    labels: tuple[Mapping[Source, Path], Mapping[Source, Path]],
    span: Span,
    max_pixels: int,
) -> int:
    """Detect the faces of all files, printing and writing results; the exit code.

    `labels` are the YOLO and WIDER files of the images.
    """
    from extd.data.sample import write_text
    from extd.data.yolo import yolo_lines
    from extd.evaluation.predictions import prediction_text, to_prediction
    from extd.media.sources import is_video
    from extd.pipeline import detect_image, detect_video

    yolo, wider = labels

    def target(source: Source) -> Path | None:
        return None if outputs.out is None else outputs.out / source.result

    def on_image(detector: Detector, source: Source, image: Image) -> Faces:
        faces = detect_image(source.path, detector, image=image, target=target(source))
        if source in yolo:
            write_text(yolo[source], yolo_lines(faces.boxes, faces.width, faces.height))
        if source in wider:
            name = source.name.with_suffix(".jpg").as_posix()
            write_text(wider[source], prediction_text(name, to_prediction(faces)))
        return faces

    def on_video(source: Source, advance: OnFrame) -> Report:
        def on_frame(frame: Frame, faces: Faces, frame_count: int | None) -> None:
            results.add_frame(frame, faces)
            advance(frame, faces, frame_count)

        return detect_video(source.path, detector, span, target=target(source), on_frame=on_frame)

    alone, quiet = is_one_image(sources), STDOUT in {outputs.json, outputs.csv}
    task: Task[Faces | Report] = Task(
        "detecting",
        "" if alone else "faces   best  file",
        on_image,
        on_video,
        lambda source, result: describe(source, result, results, whole=alone),
    )
    if outputs.out is not None:
        outputs.out.mkdir(parents=True, exist_ok=True)
    videos = any(is_video(source.path) for source in sources)
    json, csv, coco, landmarks = outputs.json, outputs.csv, outputs.coco, detector.network.landmarks
    with open_result_files(json, csv, coco, frames=videos, landmarks=landmarks) as results:
        totals = run_files(task, sources, detector, max_pixels, quiet=quiet)
    folders = [outputs.out, outputs.yolo, outputs.wider] if totals.failed < len(sources) else []
    return print_summary(totals, sources, [json, csv, coco, *folders], quiet=quiet)


def describe(
    source: Source, result: Faces | Report | Exception, results: Results, *, whole: bool
) -> Outcome:
    """Write a file's result to the open files, and tell what to print about it.

    With `whole`, an image has a line for each face.
    """
    from extd.pipeline import Report

    path = source.path
    if isinstance(result, Exception):
        outcome = Outcome(error=result)
    elif isinstance(result, Report):
        outcome = Outcome(result.faces, [video_row(path, result)], result.error)
    else:
        rows = face_rows(path, result) if whole else [image_row(path, result)]
        results.add_image(path, result)
        outcome = Outcome(len(result), rows)
    if outcome.error is not None:
        results.add_error(str(path), outcome.error)
    return outcome


def watch(detector: Detector, address: str, span: Span, outputs: Outputs) -> int:
    """Detect faces in the newest frames of a camera until it ends or Ctrl-C; the exit code."""
    from extd.media.frames import open_source, without_password
    from extd.pipeline import Report, detect_frames
    from extd.signals import defer_interrupt

    name, report = without_password(address), Report()
    json, csv = outputs.json, outputs.csv
    quiet = STDOUT in {json, csv}
    bar = progress_bar(hidden=quiet and sys.stdout.isatty())
    with (
        open_result_files(json, csv, frames=True, landmarks=detector.network.landmarks) as results,
        bar,
        frame_progress(bar, name) as advance,
        closing(open_source(address, span)) as frames,
    ):
        try:
            with defer_interrupt() as interrupted:
                for frame, faces in detect_frames(frames, detector, report, interrupted, advance):
                    results.add_frame(frame, faces)
        except KeyboardInterrupt:
            # Ctrl-C is how watching ends.
            pass
        except (ValueError, OSError) as error:
            report.error = error
        if report.error is not None:
            results.add_error(name, report.error)
    if report.error is not None:
        print_error(str(report.error))
    done = f"{count(report.faces, 'face')} in {count(report.frames, 'frame')} of {name}"
    print_line(Console(quiet=quiet), done)
    return 1 if report.error else 0


def check_outputs(outputs: Outputs) -> None:
    """Refuse files where folders are needed, and one folder for two kinds of labels.

    Raises:
        UsageError: the message names the option.
    """
    yolo, wider = outputs.yolo, outputs.wider
    for folder, option in ((outputs.out, "--out"), (yolo, "--yolo"), (wider, "--wider")):
        if folder is not None:
            check_folder(folder, option)
    if yolo is not None and wider is not None and real_path(yolo) == real_path(wider):
        raise UsageError(f"--yolo and --wider both go to {yolo}; choose two folders")


def protect_originals(sources: Sequence[Source], outputs: Outputs) -> None:
    """Refuse to replace an image or video, or to write two results into one file.

    Raises:
        UsageError: the message names the file, or there are labels to write for a video.
    """
    from extd.media.sources import VIDEO_SUFFIXES, check_results, is_video

    videos = any(is_video(source.path) for source in sources)
    if videos and {outputs.coco, outputs.yolo, outputs.wider} != {None}:
        raise UsageError("--coco, --yolo and --wider are for images only; leave videos out")
    options = (("--json", outputs.json), ("--csv", outputs.csv), ("--coco", outputs.coco))
    files = {option: target for option, target in options if target is not None}
    # Resolving the links of a million files takes a while, and often nothing is written.
    needed = set(files.values()) - {STDOUT}
    originals = {real_path(source.path) for source in sources} if needed else set()
    owners: dict[str | Path, str] = {}
    for option, target in files.items():
        place = target if target == STDOUT else real_path(Path(target))
        if isinstance(place, Path) and (place in originals or is_media(place)):
            kind = "video" if place.suffix.lower() in VIDEO_SUFFIXES else "image"
            raise UsageError(f"results would replace the {kind} {target}; name another file")
        if place in owners:
            raise UsageError(
                f"{owners[place]} and {option} both go to {target}; choose two files, or one option"
            )
        owners[place] = option
    if outputs.out is not None:
        with usage_errors():
            check_results(sources, outputs.out)


def is_media(path: Path) -> bool:
    """Whether a path is an image or video, by its suffix or content."""
    from extd.images import image_size
    from extd.media.sources import VIDEO_SUFFIXES

    if path.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES | UNREAD:
        return True
    with suppress(ValueError):
        if path.is_file():
            image_size(path)
            return True
    return False


def text_targets(sources: Sequence[Source], folder: Path | None) -> dict[Source, Path]:
    """The text file of each image in the folder, if there is one."""
    from extd.data.sample import text_files

    if folder is None:
        return {}
    return dict(zip(sources, text_files(folder, [one.name for one in sources]), strict=True))
