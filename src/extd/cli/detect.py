"""`extd detect`: images and videos in; annotated ones, JSON Lines, CSV and a table out."""

import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from extd.cli.files import Outcome, Task, frame_progress, is_one_image, run_files
from extd.cli.inference import (
    ALL,
    INFERENCE,
    SEARCH,
    VIDEO,
    Files,
    Frames,
    From0,
    Inference,
    MaxFaces,
    Threshold,
    load_detector,
    read_list,
)
from extd.cli.outputs import OUTPUTS, Outputs, open_outputs, protect_originals
from extd.cli.terminal import UsageError, count, print_error, print_line, progress_bar, usage_errors
from extd.data.sample import write_text
from extd.data.yolo import yolo_lines
from extd.detector import Detector, reduction
from extd.evaluation.predictions import prediction_text, to_prediction
from extd.faces import Faces
from extd.files import shorten
from extd.images import Reduced, unreduced
from extd.media.animation import frame_count
from extd.media.frames import check_camera, is_camera, open_source, without_password
from extd.media.sources import Source, find_media, is_video, left_alone
from extd.media.tracking import track
from extd.media.video import Span
from extd.pipeline import (
    OnFrame,
    Report,
    detect_animation,
    detect_frames,
    detect_image,
    detect_video,
    find_with,
)
from extd.signals import defer_interrupt


def detect(
    *files: Files,
    outputs: Outputs = OUTPUTS,
    threshold: Threshold = None,
    min_face: Annotated[float, Parameter(group=SEARCH, metavar="PX")] = 0,
    max_faces: MaxFaces = None,
    inference: Inference = INFERENCE,
    frames: Frames = ALL,
    track: Annotated[bool, Parameter(group=VIDEO, negative="")] = False,
    from0: From0 = False,
) -> int:
    """Detect the faces in images and videos.

    A table shows the results. A file that cannot be read is reported, the rest goes on, and the
    exit code is 1. Videos need the extra `video`; Ctrl-C stops after the current frame and keeps
    what was written so far. camera:0, the first camera of this machine, or an address that begins
    with rtsp:// is watched instead: its newest frame each time, until Ctrl-C or --end.

        extd detect photo.jpg
        extd detect album --out boxed
        extd detect film.mp4 --out boxed --start 60 --end 90
        extd detect "album/**/*.png" --json faces.jsonl
        extd detect film.mp4 --track --json faces.jsonl
        extd detect camera:0 --json -

    Args:
        min_face: Leave out faces smaller than this, by their longer side.
        track: Give each face of a video or animation an id, which it keeps while it is missed for
            up to 15 frames. Ids are in JSON, CSV and the marks.
    """
    with usage_errors():
        span = frames.span()
        camera = any(map(is_camera, files))
        if camera:
            if len(files) > 1 or outputs.out or outputs.for_images:
                raise UsageError(
                    "a camera is watched alone; its results go to --json and --csv only"
                )
            check_camera(files[0])
        inputs = [] if camera else read_list(files, sys.stdin, nul=from0)
        sources = find_media(inputs, outputs.out)
        protect_originals(sources, outputs)
    detector = load_detector(inference, threshold, min_face=min_face, max_faces=max_faces)
    if camera:
        return watch(detector, files[0], span, outputs, tracked=track)
    task = detecting(detector, sources, outputs, span, tracked=track)
    task = replace(task, left_alone=left_alone(inputs, sources, outputs.out))
    return run_files(task, sources, detector, inference.max_pixels)


def detecting(
    detector: Detector, sources: Sequence[Source], outputs: Outputs, span: Span, *, tracked: bool
) -> Task[Detector]:
    """Detect the faces of each file, and write the results; the detector is for videos."""

    def target(source: Source) -> Path | None:
        return None if outputs.out is None else outputs.out / source.result

    def on_image(detector: Detector, source: Source, image: Reduced) -> Outcome:
        path, name = source.path, source.name.with_suffix(".txt")
        faces = detect_image(path, detector, image=image, target=target(source))
        if outputs.yolo is not None:
            lines = yolo_lines(faces.boxes, faces.width, faces.height)
            write_text(shorten(outputs.yolo / name), lines)
        if outputs.wider is not None:
            image_name = source.name.with_suffix(".jpg").as_posix()
            text = prediction_text(image_name, to_prediction(faces))
            write_text(shorten(outputs.wider / name), text)
        best = float(faces.scores.max(initial=0))
        rows = face_rows(path, faces) if alone else [file_row(len(faces), best, str(path))]
        return Outcome(len(faces), rows, found=faces)

    def on_video(source: Source, on_frame: OnFrame) -> Outcome:
        path, boxed = source.path, target(source)
        if is_video(path):
            report = detect_video(
                path, detector, span, target=boxed, tracked=tracked, on_frame=on_frame
            )
        elif outputs.for_images:
            raise ValueError(
                f"{path} has several frames or pages; leave out --coco, --yolo, --wider"
            )
        else:
            report = detect_animation(
                path, detector, target=boxed, tracked=tracked, on_frame=on_frame
            )
        file = f"{path}, {count(report.frames, 'frame')}"
        row = file_row(report.faces, report.best_score, file)
        notes = [f"{path}: {note}" for note in report.notes]
        return Outcome(report.faces, [row], report.error, notes=notes)

    alone = is_one_image(sources)
    videos = bool(outputs.csv) and any(has_frames(source.path) for source in sources)
    landmarks = detector.network.landmarks
    results = open_outputs(outputs, frames=videos, landmarks=landmarks, ids=tracked)
    return Task(
        "detecting",
        "" if alone else "faces   best  file",
        on_image,
        on_video,
        [outputs.json, outputs.csv, outputs.coco, outputs.out, outputs.yolo, outputs.wider],
        results=results,
        quiet=outputs.quiet,
        # Marked images have their own size.
        reduction=unreduced if outputs.out else partial(reduction, detector.options),
    )


def has_frames(path: Path) -> bool:
    """Whether a file is a video, or an image of several frames or pages."""
    if is_video(path):
        return True
    # Reading it reports what is broken.
    with suppress(ValueError, OSError):
        return frame_count(path) > 1
    return False


def watch(detector: Detector, address: str, span: Span, outputs: Outputs, *, tracked: bool) -> int:
    """Detect faces in a camera's newest frames until it ends or Ctrl-C; return the exit code."""
    name, report = without_password(address), Report()
    with (
        open_outputs(
            outputs, frames=True, landmarks=detector.network.landmarks, ids=tracked
        ) as add,
        progress_bar(quiet=outputs.quiet) as bar,
        frame_progress(bar, name, add) as on_frame,
        closing(open_source(address, span)) as frames,
    ):
        try:
            with defer_interrupt() as interrupted:
                found = detect_frames(frames, find_with(detector), report, interrupted)
                for frame, faces in track(found) if tracked else found:
                    on_frame(frame, faces, None)
        except KeyboardInterrupt:
            # Ctrl-C is how watching ends.
            pass
        except (ValueError, OSError) as error:
            report.error = error
        if report.error is not None:
            add(name, report.error, None)
            print_error(str(report.error), bar.console)
    if not outputs.quiet:
        print_line(f"{count(report.faces, 'face')} in {count(report.frames, 'frame')} of {name}")
    return 1 if report.error else 0


def face_rows(path: Path, faces: Faces) -> list[str]:
    """The table of a single image: a line for each face."""
    rows = [f"{path}, {faces.width} x {faces.height} px"]
    if len(faces):
        rows.append("score       x1       y1       x2       y2")
    for face in faces:
        rows.append(f"{face.score:5.2f} " + " ".join(f"{value:8.1f}" for value in face.box))
    return rows


def file_row(faces: int, best_score: float, file: str) -> str:
    """A line in the table of several files."""
    best = f"{best_score:.2f}" if faces else "-"
    return f"{faces:5} {best:>6}  {file}"
